"""Sizes and choices that decoders and encoders share. Imports no jax, so that `--help` is fast."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

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
class TransformerConfig(FamilyConfig):
    """A stack of equal layers of attention and feed-forward over a table of tokens."""

    vocab_size: Size
    """Number of token ids the tokenizer can produce."""
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
    max_length: Size
    """Longest sequence the model is built for (the size of the learned position table)."""
    norm: Literal["layernorm", "rmsnorm", "rmsnorm_1p"] = "layernorm"
    """Which normalization; `rmsnorm_1p` multiplies by 1 + its weight, which begins at 0 (Gemma)."""
    norm_epsilon: Annotated[float, Interval(ge=1e-30, le=1)] = 1e-5
    """Added to the variance inside the norm."""
    positions: str = "learned"
    """How a token knows its place."""
    rope_theta: Annotated[float, Interval(ge=1, le=1e15)] = 10_000.0
    """Base of the rotary wavelengths."""
    activation: Literal["gelu", "gelu_tanh", "silu", "relu"] = "gelu_tanh"
    """Non-linearity of the feed-forward layer."""
    gated: bool = False
    """Gate the feed-forward layer (SwiGLU with `silu`, GeGLU with `gelu`): a third matrix
    multiplies the activation."""
    bias: bool = True
    """Biases in projections and norms."""
    vocab_multiple: Size = 1
    """The embedding has vocab_size rounded up to this multiple, so that `tensor` divides it."""
    init_std: Annotated[float, Interval(ge=1e-30, le=1e3)] = 0.02
    """Standard deviation of initial weights; a decoder's residual outputs divide by sqrt(2 L)."""
    attention: Literal["auto", "xla", "blocked", "cudnn", "splash"] = field(
        default="auto", metadata=FREE
    )
    """Attention kernel; auto takes the best one the backend has and the log names it."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """What is asked of the hidden states."""

    language_question: ClassVar[str]
    """What the head `language` is asked."""

    def __post_init__(self) -> None:
        if self.positions == "rotary" and self.head_dim % 2:
            raise UserError(
                f"model.head_dim={self.head_dim} must be even with model.positions=rotary, "
                f"because RoPE turns pairs of channels; try --model.head-dim {self.head_dim + 1}"
            )
        if self.positions == "sinusoidal" and self.embed_dim % 2:
            raise UserError(
                f"model.embed_dim={self.embed_dim} must be even with model.positions=sinusoidal, "
                "because channels are sine/cosine pairs; "
                f"try --model.embed-dim {self.embed_dim + 1}"
            )

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
    def questions(self) -> tuple[str, ...]:
        return (self.language_question if self.head.kind == "language" else self.head.kind,)

    @property
    def table_rows(self) -> int:
        """V, rows of the embedding: vocab_size rounded up to vocab_multiple."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    @property
    def longest_row(self) -> int:
        return self.max_length

    @property
    def vocabulary(self) -> int:
        return self.vocab_size

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

    def with_length(self, length: int) -> Self:
        return replace(self, max_length=length)

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

    def padded_for(self, tensor: int) -> Self:
        if self.table_rows % tensor == 0:
            return self
        return replace(self, vocab_multiple=math.lcm(self.vocab_multiple, tensor, 128))

    def sizes(self) -> dict[str, int]:
        return {
            "layers": self.num_layers,
            "width": self.embed_dim,
            "mlp_width": self.mlp_dim,
            "heads": self.num_heads,
            "head_width": self.head_dim,
            "vocabulary": self.vocab_size,
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
