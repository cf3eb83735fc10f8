"""The kinds of batch, one a kind of question: NumPy arrays of the rows this process owns.

Training makes global arrays of them and keeps the class, so the fields may hold either.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from jaxtyping import Float32, Int32

from data.errors import UserError

Axes = tuple[str | None, ...]
"""The logical axis of each dimension of an array, as in `model.sharding`; None is never cut."""


class Batch(Protocol):
    """What every kind of batch is: a named tuple of arrays, and so a JAX pytree.

    Its type says what is asked of the model: `train.objective` chooses the loss by it. A field is
    None if the question does without it.
    """

    @property
    def axes(self) -> Mapping[str, Axes]:
        """Axes of every field, an attribute of the class; one axis of each is `batch`."""
        ...

    @property
    def weights(self) -> Any:
        """How much each target counts; 0 on padding."""
        ...

    def _asdict(self) -> dict[str, Any]: ...

    def _replace(self, **fields: Any) -> Self: ...


Kind = TypeVar("Kind", bound=Batch)


TEXT_AXES: dict[str, Axes] = {
    "tokens": ("batch", "length"),
    "segment_ids": ("batch", "length"),
    "token_types": ("batch", "length"),
}
"""Axes of what the rows of one text each have in common."""


class TokenRows(NamedTuple):
    """Rows of tokens, each with the token that follows it.

    `tokens` are the input: the token before each of `targets`. `weights` is 0 on padding.
    `segment_ids` count documents within a row from 1 (0 is padding); `positions` restart at each.
    Both are None if every row is one stream from its start.
    """

    tokens: Int32[Any, "B T"]
    targets: Int32[Any, "B T"]
    positions: Int32[Any, "B T"] | None
    segment_ids: Int32[Any, "B T"] | None
    weights: Float32[Any, "B T"]

    axes = {  # noqa: RUF012 - annotated, it would be a field
        "tokens": ("batch", "length"),
        "targets": ("batch", "length"),
        "positions": ("batch", "length"),
        "segment_ids": ("batch", "length"),
        "weights": ("batch", "length"),
    }


class MaskedRows(NamedTuple):
    """Rows of tokens, K of which are hidden and asked for.

    `targets` are the tokens that stood at `places`, `weights` 0 where there are fewer than K.
    Segments and positions are those of `TokenRows`.
    """

    tokens: Int32[Any, "B T"]
    targets: Int32[Any, "B K"]
    places: Int32[Any, "B K"]
    positions: Int32[Any, "B T"] | None
    segment_ids: Int32[Any, "B T"] | None
    weights: Float32[Any, "B K"]

    axes = {  # noqa: RUF012 - annotated, it would be a field
        "tokens": ("batch", "length"),
        "targets": ("batch", None),
        "places": ("batch", None),
        "positions": ("batch", "length"),
        "segment_ids": ("batch", "length"),
        "weights": ("batch", None),
    }


class HiddenRows(NamedTuple):
    """Texts of which the tokens at K `places` are hidden and not known; places that a text does
    without are 0."""

    tokens: Int32[Any, "B T"]
    places: Int32[Any, "B K"]
    segment_ids: Int32[Any, "B T"]
    weights: Float32[Any, "B"]

    axes = {  # noqa: RUF012 - annotated, it would be a field
        "tokens": ("batch", "length"),
        "places": ("batch", None),
        "segment_ids": ("batch", "length"),
        "weights": ("batch",),
    }


class LabelledRows(NamedTuple):
    """Texts, each with the number of its label. Padding has segment 0; types are 0 and 1 for the
    texts of a pair, None for single texts."""

    tokens: Int32[Any, "B T"]
    segment_ids: Int32[Any, "B T"]
    token_types: Int32[Any, "B T"] | None
    targets: Int32[Any, "B"]
    weights: Float32[Any, "B"]

    axes = {  # noqa: RUF012 - annotated, it would be a field
        **TEXT_AXES,
        "targets": ("batch",),
        "weights": ("batch",),
    }


class ScoredRows(NamedTuple):
    """Texts, each with C numbers."""

    tokens: Int32[Any, "B T"]
    segment_ids: Int32[Any, "B T"]
    token_types: Int32[Any, "B T"] | None
    targets: Float32[Any, "B C"]
    weights: Float32[Any, "B"]

    axes = {  # noqa: RUF012 - annotated, it would be a field
        **TEXT_AXES,
        "targets": ("batch", None),
        "weights": ("batch",),
    }


class ManyLabelsRows(ScoredRows):
    """Texts, each with 1 for every label that it has and 0 for the others."""

    __slots__ = ()


class TaggedRows(NamedTuple):
    """Texts with the number of a tag at the first token of each word; other places have weight
    0."""

    tokens: Int32[Any, "B T"]
    segment_ids: Int32[Any, "B T"]
    token_types: Int32[Any, "B T"] | None
    targets: Int32[Any, "B T"]
    weights: Float32[Any, "B T"]

    axes = {  # noqa: RUF012 - annotated, it would be a field
        **TEXT_AXES,
        "targets": ("batch", "length"),
        "weights": ("batch", "length"),
    }


class SpanRows(NamedTuple):
    """Questions with a part of a context each: where in the row the answer begins and ends, its
    last token, both 0 if it is not in that part. `places` are where an answer may be."""

    tokens: Int32[Any, "B T"]
    segment_ids: Int32[Any, "B T"]
    token_types: Int32[Any, "B T"] | None
    places: Int32[Any, "B T"]
    targets: Int32[Any, "B 2"]
    weights: Float32[Any, "B"]

    axes = {  # noqa: RUF012 - annotated, it would be a field
        **TEXT_AXES,
        "places": ("batch", "length"),
        "targets": ("batch", None),
        "weights": ("batch",),
    }


class ParallelRows(NamedTuple):
    """Two texts a row that mean the same, as those of other rows do not."""

    tokens: Int32[Any, "B T"]
    segment_ids: Int32[Any, "B T"]
    others: Int32[Any, "B T"]
    other_segments: Int32[Any, "B T"]
    weights: Float32[Any, "B"]

    axes = {  # noqa: RUF012 - annotated, it would be a field
        "tokens": ("batch", "length"),
        "segment_ids": ("batch", "length"),
        "others": ("batch", "length"),
        "other_segments": ("batch", "length"),
        "weights": ("batch",),
    }


class SourceTargetRows(NamedTuple):
    """Texts and what is to be written of each: a row holds the sources of its pairs one after the
    other and, next to them, their targets, each with the token before it in `tokens`. Segments
    count the pairs of a row from 1, on both sides (0 is padding); positions restart at each."""

    sources: Int32[Any, "B S"]
    source_positions: Int32[Any, "B S"]
    source_segments: Int32[Any, "B S"]
    tokens: Int32[Any, "B T"]
    targets: Int32[Any, "B T"]
    positions: Int32[Any, "B T"]
    segment_ids: Int32[Any, "B T"]
    weights: Float32[Any, "B T"]

    axes = {  # noqa: RUF012 - annotated, it would be a field
        "sources": ("batch", "length"),
        "source_positions": ("batch", "length"),
        "source_segments": ("batch", "length"),
        "tokens": ("batch", "length"),
        "targets": ("batch", "length"),
        "positions": ("batch", "length"),
        "segment_ids": ("batch", "length"),
        "weights": ("batch", "length"),
    }


class ImageRows(NamedTuple):
    """Images of H x W places and C channels, each with the number of its label. Where two images
    are mixed, `others` is the label of the second and `shares` how much of the first there is."""

    images: Float32[Any, "B H W C"]
    targets: Int32[Any, "B"]
    others: Int32[Any, "B"] | None
    shares: Float32[Any, "B"] | None
    weights: Float32[Any, "B"]

    axes = {  # noqa: RUF012 - annotated, it would be a field
        "images": ("batch", None, None, None),
        "targets": ("batch",),
        "others": ("batch",),
        "shares": ("batch",),
        "weights": ("batch",),
    }


class PatchRows(NamedTuple):
    """Images with the number of a label for each of P patches, row by row; weight 0 where a patch
    has none."""

    images: Float32[Any, "B H W C"]
    targets: Int32[Any, "B P"]
    weights: Float32[Any, "B P"]

    axes = {  # noqa: RUF012 - annotated, it would be a field
        "images": ("batch", None, None, None),
        "targets": ("batch", None),
        "weights": ("batch", None),
    }


class SeriesRows(NamedTuple):
    """Series of T times and C channels, each with the number of its label."""

    series: Float32[Any, "B T C"]
    targets: Int32[Any, "B"]
    weights: Float32[Any, "B"]

    axes = {  # noqa: RUF012 - annotated, it would be a field
        "series": ("batch", None, None),
        "targets": ("batch",),
        "weights": ("batch",),
    }


def map_fields(function: Callable[[Any, Axes], Any], batch: Kind) -> Kind:
    """The batch with `function` of each array and its axes in place of the array.

    ValueError if `axes` of the batch's class does not fit its fields.
    """
    changed = {}
    for name, array in batch._asdict().items():
        if array is not None:
            axes = batch.axes.get(name, ())
            if len(axes) != array.ndim or axes.count("batch") != 1:
                raise UserError(
                    f"{type(batch).__name__}.axes[{name!r}]={axes} must name one axis for each of "
                    f"{array.ndim} dimensions, and one of them 'batch', because the array is cut "
                    "over the devices by it; try ('batch', None) for two dimensions"
                )
            changed[name] = function(array, axes)
    return batch._replace(**changed)
