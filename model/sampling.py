"""How the next token is drawn from the logits: greedy, temperature, top-k, top-p, penalty."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from data.errors import UserError
from model.sharding import spec


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn from the logits."""

    temperature: float = 1.0
    """Divides the logits; 0 takes the likeliest token."""
    top_k: int | None = None
    """Draw only from this many likeliest tokens."""
    top_p: float | None = None
    """Draw only from the likeliest tokens that together hold this probability (Holtzman et al.
    2020)."""
    repetition_penalty: float = 1.0
    """Divides positive logits of tokens that the row has already, and multiplies negative ones
    (Keskar et al. 2019); 1 changes nothing."""

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise UserError(
                f"temperature={self.temperature} must be at least 0, because it divides the logits;"
                " try 0 for the likeliest token or 1 for the model's own distribution"
            )
        if self.top_k is not None and self.top_k < 1:
            raise UserError(
                f"top_k={self.top_k} must be at least 1, because a token is drawn from that many; "
                "try 40, or None"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(
                f"top_p={self.top_p} must be above 0 and at most 1, because it is a probability; "
                "try 0.95, or None"
            )
        if not 0 < self.repetition_penalty < float("inf"):
            raise UserError(
                f"repetition_penalty={self.repetition_penalty} must be above 0 and finite, because "
                "logits are divided by it; try 1.1, or 1 for none"
            )


def sample(logits: Float[Array, "B V"], key: PRNGKeyArray, sampling: Sampling) -> Int[Array, "B"]:
    """One token a row, drawn as `sampling` says but for its penalty."""
    if sampling.temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    logits = logits / sampling.temperature
    if sampling.top_k is not None:
        kept, _ = jax.lax.top_k(logits, min(sampling.top_k, logits.shape[-1]))
        logits = jnp.where(logits < kept[:, -1:], -jnp.inf, logits)
    if sampling.top_p is not None:
        ordered = jnp.sort(logits, axis=-1, descending=True)
        share = jax.nn.softmax(ordered, axis=-1)
        before = jnp.cumsum(share, axis=-1) - share
        lowest = jnp.min(jnp.where(before < sampling.top_p, ordered, jnp.inf), axis=-1)
        logits = jnp.where(logits < lowest[:, None], -jnp.inf, logits)
    return jax.random.categorical(key, logits, axis=-1).astype(jnp.int32)


def penalized(
    logits: Float[Array, "B V"], seen: Bool[Array, "B V"], penalty: float
) -> Float[Array, "B V"]:
    """The logits with those of the tokens that were `seen` made less likely."""
    less = jnp.where(logits > 0, logits / penalty, logits * penalty)
    return jnp.where(seen, less, logits)


def seen_in(tokens: Int[Array, "B P"], real: Bool[Array, "B P"], V: int) -> Bool[Array, "B V"]:
    """Which tokens each row has, padding left out."""

    def scatter(tokens: Array, real: Array) -> Array:
        rows = jnp.arange(tokens.shape[0])[:, None]
        return jnp.zeros((tokens.shape[0], V), bool).at[rows, tokens].max(real)

    layout = spec("batch", None)
    return jax.shard_map(scatter, in_specs=(layout, layout), out_specs=layout)(tokens, real)
