"""Beam search: the likeliest continuations are followed side by side, and the best is taken."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from data.errors import UserError
from model.generate import CachedModel, read_prompts, require_positions, step
from model.sharding import spec


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Beams:
    """How many continuations are followed, and how those of unequal lengths are compared."""

    count: int = field(metadata={"static": True})
    """K, continuations of a row that are followed."""
    length_penalty: float | Array = 1.0
    """A: the log-probability of a text of n tokens is divided by n**A; 0 compares probabilities, 1
    their means by token, and more prefers longer texts (Wu et al. 2016 divide by a similar power).
    """

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(
                f"beams={self.count} must be at least 1, because so many continuations are "
                "followed; try 4"
            )


def beams_of(count: int | None, length_penalty: float = 1.0) -> Beams | None:
    """So many beams, or none; ValueError for a length penalty without them."""
    if count is None and length_penalty != 1.0:
        raise UserError(
            f"length_penalty={length_penalty} must come with beams, because it compares the texts "
            "that they find; try --beams 4"
        )
    return None if count is None else Beams(count=count, length_penalty=length_penalty)


class Live(NamedTuple):
    """Continuations that have not ended, K of each row, and the best that has."""

    written: Int[Array, ""]
    """New tokens so far."""
    tokens: Int[Array, "B K T"]
    scores: Float[Array, "B K"]
    """Log-probabilities, the highest first; -inf where there is no continuation."""
    log_probs: Float[Array, "B K V"]
    """Of the next token."""
    keys: Any
    """The cache, with an axis of K before all others."""
    best: Int[Array, "B T"]
    best_score: Float[Array, "B"]
    """Its log-probability over its length**A."""


def beam_search(
    model: CachedModel,
    prompt: Int[Array, "B P"],
    real: Bool[Array, "B P"],
    *,
    new: int,
    beams: Beams,
    ends: tuple[int, ...] = (),
) -> tuple[Int[Array, "B new"], Float[Array, "B"]]:
    """The best continuation of every prompt that beams find, and its score: one that ends with a
    token of `ends`, after which it holds the first of these, or has `new` tokens.

    A continuation may end only while it is among the K likeliest, as in `transformers`. The search
    stops when none of those that are followed can become better than the best that ended. Run it
    under `jax.jit` with `new` and `ends` static. Raises ValueError when learned positions
    do not reach that far.
    """
    config = model.config
    require_positions(config, prompt.shape[1], new)
    (B, P), K, V, A = prompt.shape, beams.count, config.table_rows, beams.length_penalty
    kept = min(K * (1 + len(ends)), K * V)
    known = (jnp.arange(V) < (config.vocabulary or 0))[None, None]
    fill = ends[0] if ends else 0
    rows = spec("batch", None)

    def log_probs(x: Float[Array, "K B D"]) -> Float[Array, "B K V"]:
        logits = jax.vmap(lambda x: model.logits(x[:, None])[:, 0])(x)
        # A vocabulary that is cut can neither be sorted nor merged with the beams.
        logits = jnp.moveaxis(jax.sharding.reshard(logits, spec(None, "batch", None)), 0, 1)
        return jax.nn.log_softmax(jnp.where(known, logits, -jnp.inf))

    x, keys, places = read_prompts(model, prompt, real, new)

    def score_next(tokens: Int[Array, "K B"], keys: Any, slot: Array) -> tuple[Array, Any]:
        x, keys = jax.vmap(lambda token, own: step(model, token, slot, own, places))(tokens, keys)
        return log_probs(x), keys

    def follow(live: Live) -> Live:
        length = live.written + 1
        totals = (live.scores[..., None] + live.log_probs).reshape(B, K * V)
        totals, flat = jax.lax.top_k(totals, kept)
        beam, token = flat // V, (flat % V).astype(jnp.int32)
        tokens = of_beams(live.tokens, beam)
        tokens = jnp.where((jnp.arange(new) == live.written)[None, None], token[..., None], tokens)
        ended = jnp.broadcast_to(length == new, token.shape, out_sharding=rows)
        for end in ends:
            ended = ended | (token == end)
        scores = jnp.where(ended & (jnp.arange(kept) < K)[None], totals, -jnp.inf)
        winner = jnp.argmax(scores, axis=1, keepdims=True)
        score = jnp.take_along_axis(scores, winner, axis=1)[:, 0] / length**A
        text = of_beams(tokens, winner)[:, 0]
        better = score > live.best_score
        scores, places_of = jax.lax.top_k(jnp.where(ended, -jnp.inf, totals), K)
        beam, token = (jnp.take_along_axis(part, places_of, axis=1) for part in (beam, token))
        own = jax.tree.map(lambda leaf: reordered(leaf, beam), live.keys)
        following, own = score_next(token.T, own, P + live.written)
        return Live(
            length,
            of_beams(tokens, places_of),
            scores,
            following,
            own,
            jnp.where(better[:, None], text, live.best),
            jnp.where(better, score, live.best_score),
        )

    def may_win(live: Live) -> Bool[Array, ""]:
        """Log-probabilities only fall: where length is preferred, the highest score of what goes on
        would be reached without loss at the last token, elsewhere at the next."""
        length = jnp.where(A > 0, new, live.written + 1)
        hoped = live.scores[:, 0] / length**A
        return (live.written < new) & jnp.any(hoped > live.best_score)

    def zeros(value: Any, *shape: int) -> Array:
        layout = spec("batch", *[None] * (len(shape) - 1))
        return jnp.full(shape, value, jnp.asarray(value).dtype, out_sharding=layout)

    only_first = jnp.where((jnp.arange(K) == 0)[None], zeros(0.0, B, K), -jnp.inf)
    nothing = zeros(jnp.int32(fill), B, K, new)
    copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * K), (x, keys))
    live = Live(
        jnp.zeros((), jnp.int32),
        nothing,
        only_first,
        log_probs(copies[0]),
        copies[1],
        nothing[:, 0],
        zeros(-jnp.inf, B),
    )
    live = jax.lax.while_loop(may_win, follow, live)
    return live.best, live.best_score


def of_beams(tokens: Int[Array, "B K T"], beam: Int[Array, "B C"]) -> Int[Array, "B C T"]:
    """The tokens of some beams of each row."""
    return jnp.take_along_axis(tokens, beam[..., None], axis=1)


def reordered(leaf: Array, beam: Int[Array, "B K"]) -> Array:
    """An array of the cache, [K, L, B, ...], with that beam of each row at each place."""
    index = beam.T.reshape(beam.shape[1], 1, beam.shape[0], *[1] * (leaf.ndim - 3))
    return jnp.take_along_axis(leaf, index, axis=0)
