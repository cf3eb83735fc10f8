"""Sizes and choices of a stack of Transformer blocks. Imports no jax, so that `--help` is fast."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from annotated_types import Interval

from data.errors import UserError
from data.fields import FREE, Layers, Size
from model.families import table
from model.families.family import FamilyConfig, Proportions
from model.head_config import HeadConfig

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

    from model.attention.mask import MaskKind


@dataclass(frozen=True, kw_only=True)
class BlocksConfig(FamilyConfig):
    """A stack of equal layers of attention and feed-forward, and a head."""

    num_layers: Layers
    """L, the number of blocks."""
    embed_dim: Size
    """D, the width of the residual stream."""
    num_heads: Size
    """N, the number of query heads."""
    head_dim: Size
    """H, the width of one head."""
    mlp_dim: Size
    """F, the hidden width of the feed-forward layer."""
    norm: Literal["layernorm", "rmsnorm", "rmsnorm_1p"] = "layernorm"
    """Which normalization; `rmsnorm_1p` multiplies by 1 + its weight, which begins at 0 (Gemma)."""
    norm_epsilon: Annotated[float, Interval(ge=1e-30, le=1)] = 1e-5
    """Added to the variance inside the norm."""
    activation: Literal["gelu", "gelu_tanh", "silu", "relu"] = "gelu_tanh"
    """Non-linearity of the feed-forward layer."""
    gated: bool = False
    """Gate the feed-forward layer (SwiGLU with `silu`, GeGLU with `gelu`): a third matrix
    multiplies the activation."""
    bias: bool = True
    """Biases in projections and norms."""
    init_std: Annotated[float, Interval(ge=1e-30, le=1e3)] = 0.02
    """Standard deviation of initial weights; a decoder's residual outputs divide by sqrt(2 L)."""
    attention: Literal["auto", "xla", "blocked", "cudnn", "splash"] = field(
        default="auto", metadata=FREE
    )
    """Attention kernel; auto takes the best one the backend has and the log names it."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """What is asked of the hidden states."""

    @property
    @abstractmethod
    def masks(self) -> "Sequence[MaskKind]":
        """The masks that attention must serve."""

    @property
    def softcap(self) -> float | None:
        """What caps the scores of attention; None is nothing."""
        return None

    @property
    def biased(self) -> bool:
        """Whether something is added to the scores of attention."""
        return False

    @property
    def gate_bias(self) -> bool:
        """Whether what gates the feed-forward layer has a bias."""
        return False

    def build(self, key: "PRNGKeyArray") -> Any:
        """The network of `model.families.table` with fresh weights on the current mesh."""
        return table.build(self, key)

    def resolve(self, backend: str) -> Self:
        """This config with compute type and attention kernel settled for the backend."""
        from model.attention.kernels import choose_kernel

        settled: Any = super().resolve(backend)
        kernel = choose_kernel(
            self.attention,
            dtype=settled.dtype,
            head_dim=self.head_dim,
            masks=self.masks,
            softcap=self.softcap,
            biased=self.biased,
            backend=backend,
        )
        return replace(settled, attention=kernel)

    @property
    def kernel(self) -> str:
        return self.attention

    @property
    def width(self) -> int:
        return self.embed_dim

    @property
    def depth(self) -> int:
        return self.num_layers

    def with_depth(self, layers: int) -> Self:
        return replace(self, num_layers=layers)

    def of_width(self, width: int, rule: Proportions) -> Self:
        return replace(self, **self.widths(width, rule))

    def widths(self, width: int, rule: Proportions) -> dict[str, int]:
        """Layers, heads and feed-forward width as the rule says; ValueError for a width that is
        not made of whole heads."""
        return {
            "embed_dim": width,
            "num_layers": max(1, round(width / rule.width_per_layer)),
            "num_heads": whole_heads(width, "family.head_dim", rule.head_dim),
            "head_dim": rule.head_dim,
            "mlp_dim": max(8, 8 * round(rule.mlp_ratio * width / 8)),
        }

    @property
    def width_fields(self) -> tuple[str, ...]:
        return ("embed_dim", "num_layers", "num_heads", "head_dim", "mlp_dim")

    def sizes(self) -> dict[str, int]:
        return {
            "layers": self.num_layers,
            "width": self.embed_dim,
            "mlp_width": self.mlp_dim,
            "heads": self.num_heads,
            "head_width": self.head_dim,
        }


def whole_heads(width: int, field: str, head_dim: int) -> int:
    """How many heads make up the width; ValueError if they do not."""
    if width < 1 or width % head_dim:
        near = max(1, round(width / head_dim)) * head_dim
        raise UserError(
            f"widths={width} must be a multiple of {field}={head_dim}, because it is made of whole "
            f"heads; try {near}"
        )
    return width // head_dim
