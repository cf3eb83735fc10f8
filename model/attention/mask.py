"""A mask as a value: what each query may see, from the places of queries and keys."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from data.errors import UserError


class TokenPlaces(NamedTuple):
    """Where the tokens of a row stand. None of `segment_ids` means one document fills the row."""

    positions: Int[Array, "B T"]
    segment_ids: Int[Array, "B T"] | None = None


@dataclass(frozen=True, kw_only=True)
class MaskKind:
    """What is static about a mask: by it kernels say whether they serve it."""

    causal: bool
    window: bool = False
    segments: bool = False
    prefix: bool = False
    separate_keys: bool = False
    """Keys have places of their own: those of another source, or slots of a cache."""

    @property
    def by_row(self) -> bool:
        """Whether the order of the row, or nothing, decides what is seen: no array is needed."""
        other_order = self.causal and (self.prefix or self.separate_keys)
        return not (self.window or self.segments or other_order)

    @property
    def hides_later(self) -> bool:
        """Whether no query sees a key that is after it in the row."""
        return self.causal and not self.prefix and not self.separate_keys

    def __str__(self) -> str:
        words = {
            "a window": self.window,
            "segments": self.segments,
            "a prefix": self.prefix,
            "keys of other places": self.separate_keys,
        }
        has = " and ".join(word for word, true in words.items() if true)
        return ("causal" if self.causal else "bidirectional") + (f" with {has}" if has else "")


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask:
    """What the queries of rows may see.

    A query sees keys of its segment: all, or if `causal` those not after it, and of these the ones
    less than `window` positions away if there is a window. Keys of the prefix are seen by every
    query of their segment (UniLM, Dong et al. 2019; T5's prefix LM, Raffel et al. 2020). Without
    `keys` the queries see each other, and inside a segment they stand side by side in the order of
    their positions. What a query that sees nothing attends to is undefined: its place must not
    count. Raises ValueError for parts that do not fit together.
    """

    causal: bool
    window: int | None = None
    layer_window: Int[Array, ""] | None = None
    """That of the layer at hand where layers differ: `window`, or more than any distance."""
    queries: TokenPlaces
    keys: TokenPlaces | None = None
    prefix: Bool[Array, "B S"] | None = None
    """Which keys are in the prefix of their segment."""

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise UserError(
                f"window={self.window} must be at least 1, because each query sees itself; try 1"
            )
        if self.layer_window is not None and self.window is None:
            raise UserError(
                "layer_window must be None with window=None, because it says whether a layer has "
                "that window; try window=128"
            )
        if self.keys is not None and (
            (self.keys.segment_ids is None) != (self.queries.segment_ids is None)
        ):
            raise UserError(
                "segment_ids must be those of queries and keys or of neither, because a query sees "
                "the keys of its own segment; try segments of 1 where all is one document"
            )

    @property
    def kind(self) -> MaskKind:
        return MaskKind(
            causal=self.causal,
            window=self.window is not None,
            segments=self.queries.segment_ids is not None,
            prefix=self.prefix is not None,
            separate_keys=self.keys is not None,
        )

    def visible(self) -> Bool[Array, "B 1 T S"]:
        """Which keys each query sees, by the plain formula."""
        queries, keys = self.queries, self.queries if self.keys is None else self.keys
        distance = queries.positions[:, :, None] - keys.positions[:, None, :]
        mask = distance >= 0 if self.causal else jnp.ones_like(distance, bool)
        window = self.window if self.layer_window is None else self.layer_window
        if window is not None:
            mask &= (distance if self.causal else jnp.abs(distance)) < window
        if self.prefix is not None:
            mask |= self.prefix[:, None, :]
        if queries.segment_ids is not None and keys.segment_ids is not None:
            mask &= queries.segment_ids[:, :, None] == keys.segment_ids[:, None, :]
        return mask[:, None]


STATIC, ARRAYS = ("causal", "window"), ("layer_window", "queries", "keys", "prefix")


def flattened(mask: Mask) -> tuple[list[Any], tuple[Any, ...]]:
    return [getattr(mask, name) for name in ARRAYS], tuple(getattr(mask, name) for name in STATIC)


def rebuilt(static: tuple[Any, ...], arrays: Iterable[Any]) -> Mask:
    """Undo `flattened`, not by `__init__`: JAX puts things that are no arrays in their places."""
    mask = object.__new__(Mask)
    for name, value in zip((*STATIC, *ARRAYS), (*static, *arrays), strict=True):
        object.__setattr__(mask, name, value)
    return mask


jax.tree_util.register_pytree_node(Mask, flattened, rebuilt)
