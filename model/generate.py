"""Cached decoding: prompts are read at once, and written on from token by token."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from data.errors import UserError
from model.attention.mask import TokenPlaces
from model.families.family import FamilyConfig
from model.sampling import Sampling, penalized, sample, seen_in
from model.sharding import spec

Keys = Any
"""What a network keeps of the tokens before: arrays with the layers first and the rows second."""


@runtime_checkable
class CachedModel(Protocol):
    """A network that decodes with a cache, such as [L, B, S, K, H] keys and values in S slots.

    Each array of a cache has the layers first and the rows of the batch second.
    """

    @property
    def config(self) -> FamilyConfig: ...

    def empty_keys(self, B: int, S: int) -> Keys: ...

    def decode(
        self, tokens: Array, places: TokenPlaces, keys: Keys, slots: TokenPlaces, start: Array
    ) -> tuple[Array, Keys]: ...

    def logits(self, x: Array) -> Array: ...


class Draft(NamedTuple):
    """Texts that are being written, of B rows."""

    keys: Keys
    """The cache, of all S slots."""
    places: TokenPlaces
    """Of all S slots."""
    x: Float[Array, "B D"]
    """Hidden states of the last token of each row."""
    slot: Int[Array, ""]
    """Where the next token goes."""
    written: Int[Array, ""]
    """New tokens so far."""
    done: Bool[Array, "B"]
    """Rows that ended."""
    seen: Bool[Array, "B V"] | None
    """Tokens that each row has, if they are penalized."""


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


def read_prompts(
    model: CachedModel, prompt: Int[Array, "B P"], real: Bool[Array, "B P"], new: int
) -> tuple[Float[Array, "B D"], Keys, TokenPlaces]:
    """Hidden states of each prompt's last token, the cache, and the places of its slots, `new` of
    them after the prompts.

    Positions of learned tables must reach that far: `require_positions`.
    """
    places = slots(real, new)
    x, keys = prefill(model, prompt, places)
    slot = jnp.arange(prompt.shape[1])[None]
    last = jnp.max(jnp.where(real, slot, 0), axis=1)
    return jnp.sum(jnp.where((slot == last[:, None])[..., None], x, 0), axis=1), keys, places


def begin(
    model: CachedModel,
    prompt: Int[Array, "B P"],
    real: Bool[Array, "B P"],
    *,
    new: int,
    sampling: Sampling,
) -> Draft:
    """The prompts, read, with room for `new` tokens after each."""
    P = prompt.shape[1]
    x, keys, places = read_prompts(model, prompt, real, new)
    done = jnp.zeros((prompt.shape[0],), bool, out_sharding=spec("batch"))
    penalty = sampling.repetition_penalty != 1
    seen = seen_in(prompt, real, model.config.table_rows) if penalty else None
    return Draft(keys, places, x, jnp.asarray(P), jnp.zeros((), jnp.int32), done, seen)


def write(
    model: CachedModel,
    draft: Draft,
    key: PRNGKeyArray,
    count: Int[Array, ""],
    *,
    most: int,
    sampling: Sampling,
    ends: tuple[int, ...] = (),
) -> tuple[Int[Array, "B most"], Draft]:
    """The next `count` tokens of every row, `most` at most; rows that ended hold nothing but the
    first of `ends`, and so does what is beyond `count`. How they are parted changes no token."""
    config = model.config
    until, rows = draft.written + count, spec("batch", None)
    known = (jnp.arange(config.table_rows) < (config.vocabulary or 0))[None]
    fill = ends[0] if ends else 0

    def draw(draft: Draft) -> Int[Array, "B"]:
        logits = jax.sharding.reshard(model.logits(draft.x[:, None])[:, 0], rows)
        if draft.seen is not None:
            logits = penalized(logits, draft.seen, sampling.repetition_penalty)
        step_key = jax.random.fold_in(key, draft.written)
        token = sample(jnp.where(known, logits, -jnp.inf), step_key, sampling)
        return jnp.where(draft.done, fill, token)

    def more(carry: tuple[Array, Draft]) -> Bool[Array, ""]:
        return (carry[1].written < until) & ~jnp.all(carry[1].done)

    def write_one(carry: tuple[Array, Draft]) -> tuple[Array, Draft]:
        out, draft = carry
        token = draw(draft)
        at = draft.written - until + count
        out = jax.lax.dynamic_update_slice_in_dim(out, token[:, None], at, axis=1)
        x, keys = step(model, token, draft.slot, draft.keys, draft.places)
        done, seen = draft.done, draft.seen
        for end in ends:
            done = done | (token == end)
        if seen is not None:
            seen = seen | (jnp.arange(seen.shape[1])[None] == token[:, None])
        return out, Draft(keys, draft.places, x, draft.slot + 1, draft.written + 1, done, seen)

    out = jnp.full((draft.done.shape[0], most), fill, jnp.int32, out_sharding=rows)
    return jax.lax.while_loop(more, write_one, (out, draft))


def generate(
    model: CachedModel,
    prompt: Int[Array, "B P"],
    real: Bool[Array, "B P"],
    key: PRNGKeyArray,
    *,
    new: int,
    sampling: Sampling,
    ends: tuple[int, ...] = (),
) -> Int[Array, "B new"]:
    """Continue every prompt by `new` tokens; after a token of `ends` a row holds nothing but the
    first of these.

    Tokens of the vocabulary's padding are never drawn. Run it under `jax.jit` with `new`,
    `sampling` and `ends` static. Raises ValueError when learned positions do not reach that far.
    """
    require_positions(model.config, prompt.shape[1], new)
    draft = begin(model, prompt, real, new=new, sampling=sampling)
    count = jnp.asarray(new)
    return write(model, draft, key, count, most=new, sampling=sampling, ends=ends)[0]


def require_positions(config: FamilyConfig, prompt: int, new: int) -> None:
    """Raise ValueError if the model has no positions for `new` tokens after those of a prompt."""
    longest = config.last_position
    if longest is not None and prompt + new > longest:
        raise UserError(
            f"prompt and new tokens={prompt} + {new} must be at most "
            f"model.max_length={longest}, because no position beyond it was learnt; "
            f"try {max(longest - prompt, 0)} new tokens"
        )
