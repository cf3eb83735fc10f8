"""Cached decoding: prefill and step, with greedy, temperature, top-k and top-p sampling."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from data.errors import UserError
from model.attention.attention import Keys
from model.attention.mask import TokenPlaces
from model.families.family import FamilyConfig
from model.sharding import spec


@runtime_checkable
class CachedModel(Protocol):
    """A network that decodes with a cache of keys; [L, B, S, K, H] keys and values in S slots."""

    @property
    def config(self) -> FamilyConfig: ...

    def empty_keys(self, B: int, S: int) -> Keys: ...

    def decode(
        self, tokens: Array, places: TokenPlaces, keys: Keys, slots: TokenPlaces, start: Array
    ) -> tuple[Array, Keys]: ...

    def logits(self, x: Array) -> Array: ...


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


def sample(logits: Float[Array, "B V"], key: PRNGKeyArray, sampling: Sampling) -> Int[Array, "B"]:
    """One token a row, drawn as `sampling` says."""
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


def slots(real: Bool[Array, "B P"], new: int) -> TokenPlaces:
    """Places of P prompt slots, of which `real` are not padding, and of `new` slots after them.

    Padding may stand left or right: it is a document of its own, and positions count real tokens.
    """
    B = real.shape[0]
    ones = jnp.ones((B, new), bool, out_sharding=spec("batch", None))
    real = jnp.concatenate([real, ones], axis=1)
    positions = jnp.where(real, jnp.cumsum(real, axis=1) - 1, 0)
    return TokenPlaces(positions.astype(jnp.int32), real.astype(jnp.int32))


def prefill(
    model: CachedModel, prompt: Int[Array, "B P"], places: TokenPlaces
) -> tuple[Float[Array, "B P D"], Keys]:
    """Hidden states of the prompt, and the cache that holds it, for all slots of `places`."""
    B, P = prompt.shape
    keys = model.empty_keys(B, places.positions.shape[1])
    here = jax.tree.map(lambda place: place[:, :P], places)
    return model.decode(prompt, here, keys, places, jnp.zeros((), jnp.int32))


def step(
    model: CachedModel,
    tokens: Int[Array, "B"],
    slot: Int[Array, ""],
    keys: Keys,
    places: TokenPlaces,
) -> tuple[Float[Array, "B D"], Keys]:
    """Hidden states of one token a row, written into `slot` of the cache."""
    here = jax.tree.map(lambda place: jax.lax.dynamic_slice_in_dim(place, slot, 1, axis=1), places)
    x, keys = model.decode(tokens[:, None], here, keys, places, slot)
    return x[:, 0], keys


def generate(
    model: CachedModel,
    prompt: Int[Array, "B P"],
    real: Bool[Array, "B P"],
    key: PRNGKeyArray,
    *,
    new: int,
    sampling: Sampling,
    end: int | None = None,
) -> Int[Array, "B new"]:
    """Continue every prompt by `new` tokens; after the token `end` a row holds nothing but `end`.

    Tokens of the vocabulary's padding are never drawn. Run it under `jax.jit` with `new`,
    `sampling` and `end` static. Raises ValueError when learned positions do not reach that far.
    """
    B, P = prompt.shape
    config = model.config
    longest = config.last_position
    if longest is not None and P + new > longest:
        raise UserError(
            f"prompt and new tokens={P} + {new} must be at most "
            f"model.max_length={longest}, because no position beyond it was learnt; "
            f"try {max(longest - P, 0)} new tokens"
        )
    places = slots(real, new)
    x, keys = prefill(model, prompt, places)
    slot = jnp.arange(P)[None]
    last = jnp.max(jnp.where(real, slot, 0), axis=1)
    x = jnp.sum(jnp.where((slot == last[:, None])[..., None], x, 0), axis=1)
    known = (jnp.arange(config.table_rows) < (config.vocabulary or 0))[None]

    def draw(x: Float[Array, "B D"], done: Bool[Array, "B"], i: Int[Array, ""]) -> Array:
        logits = jax.sharding.reshard(model.logits(x[:, None])[:, 0], spec("batch", None))
        token = sample(jnp.where(known, logits, -jnp.inf), jax.random.fold_in(key, i), sampling)
        return token if end is None else jnp.where(done, end, token)

    def more(carry: tuple) -> Bool[Array, ""]:
        i, _, _, _, done = carry
        return (i < new) & ~jnp.all(done)

    def write(carry: tuple) -> tuple:
        i, x, keys, out, done = carry
        token = draw(x, done, i)
        out = jax.lax.dynamic_update_slice_in_dim(out, token[:, None], i, axis=1)
        if end is not None:
            done = done | (token == end)
        x, keys = step(model, token, P + i, keys, places)
        return i + 1, x, keys, out, done

    rows = spec("batch", None)
    out = jnp.full((B, new), 0 if end is None else end, jnp.int32, out_sharding=rows)
    done = jnp.zeros((B,), bool, out_sharding=spec("batch"))
    return jax.lax.while_loop(more, write, (jnp.zeros((), jnp.int32), x, keys, out, done))[3]
