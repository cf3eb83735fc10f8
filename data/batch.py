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
