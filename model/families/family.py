"""What a family's config answers, so that nothing else need know its fields. Imports no jax."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from annotated_types import Interval

from data.errors import UserError
from data.fields import FREE, Size

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray


class Attended(NamedTuple):
    """The attention of a model, for what it costs."""

    heads: int
    """N, query heads of a layer."""
    head_dim: int
    """H."""
    windows: tuple[tuple[int | None, int], ...]
    """Keys that a query sees at most, and in how many layers; None is all of them."""
    causal: bool = True
    """Whether a query sees no key after it."""
    queries: float = 1.0
    """Queries of a row as a share of its places."""
    keys: float = 1.0
    """Keys of a row as a share of its places."""


class LayerStack(NamedTuple):
    """Equal layers, one after the other."""

    prefix: str
    """What the names of their weights begin with."""
    layers: int
    sums: int
    """Sums over `tensor` that a layer adds to the residual stream, one after the other."""
    places: float = 1.0
    """Tokens of a row that they work on, as a share of its places."""
    read: float = 0.0
    """Tokens of another stack that each layer reads, as a share of the places."""


class Scoring(NamedTuple):
    """How a table scores tokens, but for its product with hidden states."""

    vocabulary: int | None = None
    """Rows that are of tokens: those after them pad the table and take no part."""
    softcap: float | None = None
    """c: a score s is c tanh(s / c)."""


@dataclass(frozen=True, kw_only=True)
class Proportions:
    """Depth, heads and feed-forward width of a model, from its width."""

    head_dim: Size
    """H, the same at every width; the width must be a multiple."""
    width_per_layer: Annotated[float, Interval(ge=1e-3, le=1e6)]
    """D / L; the layers are rounded, and at least one."""
    mlp_ratio: Annotated[float, Interval(ge=1e-3, le=1e3)] = 4.0
    """F / D, with F rounded to a multiple of 8; 8/3 if gated has as many parameters as 4 if not."""


@dataclass(frozen=True, kw_only=True)
class FamilyConfig(ABC):
    """Sizes and choices of one network. A family is a subclass with a `kind` of its own.

    `build` is all that training asks of it; what follows `resolve` is for plans and ladders, which
    refuse a family that does not answer.
    """

    kind: str
    """Which family it is."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of activations and matmuls; auto is float32 on CPU and bfloat16 elsewhere. Parameters
    are float32."""
    remat: Literal["none", "dots", "full", "offload"] = field(default="none", metadata=FREE)
    """What the backward pass recomputes: nothing, all but matmul outputs (those of convolutions of
    one place are, of larger ones not), all, or keeps them in host memory."""

    @abstractmethod
    def build(self, key: "PRNGKeyArray") -> Any:
        """The network with fresh weights on the current mesh, an `nnx.Module`."""

    def resolve(self, backend: str) -> "FamilyConfig":
        """This config with all that is `auto` settled for the backend.

        Raises ValueError for a choice that the backend does not have.
        """
        if self.remat == "offload" and backend == "cpu":
            raise UserError(
                "model.remat=offload must have an accelerator, because it moves activations to the "
                "host and the backend is cpu; try --model.remat full"
            )
        if self.dtype != "auto":
            return self
        return replace(self, dtype="float32" if backend == "cpu" else "bfloat16")

    @property
    def channels_read(self) -> int:
        """Numbers at each place of the images or series that it reads; 0 where it reads tokens."""
        return 0

    def require_input(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError if it cannot read images [H, W, C], or series [T, C], of that shape."""
        raise UserError(
            f"model.kind={self.kind} must read {'images' if len(shape) == 3 else 'series'}, because"
            " the data are those, but it reads tokens; try a preset of images or series"
        )

    @property
    def longest_row(self) -> int | None:
        """Places of a row at most; None where a row may have any length."""
        return None

    @property
    def last_position(self) -> int | None:
        """Positions there are while it writes; None where there is no limit."""
        return None

    def places(self, length: int) -> int:
        """Places that it works on in a row that is `length` of the data."""
        return length

    @property
    def generates(self) -> bool:
        """Whether it writes on from a prompt, token by token."""
        return False

    @property
    def questions(self) -> tuple[str, ...]:
        """What it can be asked, as `data.rows.rows.Rows.question` names it; empty for a family
        that comes with rows of its own."""
        return ()

    @property
    def vocabulary(self) -> int | None:
        """Ids that its table has rows for, padding left out; None without a table."""
        return None

    @property
    def scoring(self) -> Scoring:
        """How its table scores tokens."""
        return Scoring(self.vocabulary)

    @property
    def table_rows(self) -> int:
        """V, rows of the table that scores, padding included; 0 without one."""
        return 0

    @property
    def kernel(self) -> str:
        """The attention kernel it asks for, or was resolved to; empty without attention."""
        return ""

    @property
    def width(self) -> int:
        """D, channels of the residual stream."""
        raise self._unanswered("width")

    @property
    def depth(self) -> int:
        """L, layers."""
        raise self._unanswered("depth")

    @property
    def attended(self) -> Attended:
        """Its attention; of none, if it has none."""
        return Attended(0, 0, ())

    def attentions(self, written: float) -> tuple[Attended, ...]:
        """The attentions of its layers, of rows of which the table scores the share `written`."""
        return (self.attended,)

    def stacks(self, written: float) -> tuple[LayerStack, ...]:
        """Its layers, of rows of which the table scores the share `written`."""
        return (LayerStack("", self.depth, self.residual_sums),)

    def met(self, weight: str, written: float) -> float:
        """Share of a row's places that a matrix multiplies, if the table scores the share
        `written`."""
        return 1.0

    @property
    def residual_sums(self) -> int:
        """Sums over `tensor` that a layer adds to the residual stream, one after the other."""
        raise self._unanswered("sums")

    @property
    def reads_last_sum(self) -> bool:
        """Whether a layer itself reads its last sum, as a norm after it does: its backward pass
        then needs what was added."""
        return False

    def with_depth(self, layers: int) -> "FamilyConfig":
        """The same network with so many layers."""
        raise self._unanswered("depth")

    def with_length(self, length: int) -> "FamilyConfig":
        """The same network for rows of that length."""
        raise self._unanswered("length")

    def of_width(self, width: int, rule: Proportions) -> "FamilyConfig":
        """The network of another width, its other sizes as the rule has them."""
        raise self._unanswered("proportions")

    def widened(self, width: int, parametrization: str) -> "FamilyConfig":
        """The network of another width and all else in proportion, `standard` or under `mup` with
        this one as the base."""
        raise self._unanswered("parametrization")

    @property
    def width_fields(self) -> tuple[str, ...]:
        """Fields that `of_width` sets."""
        return ()

    def padded_for(self, tensor: int) -> "FamilyConfig":
        """The network with its tables padded so that the mesh axis cuts them evenly."""
        raise self._unanswered("tables")

    def sizes(self) -> dict[str, int]:
        """Its sizes by name, for tables."""
        return {}

    def _unanswered(self, what: str) -> UserError:
        return UserError(
            f"model.kind={self.kind} must say its {what}, because plans and ladders are made from "
            f"that; try another family, or answer in {type(self).__name__}"
        )
