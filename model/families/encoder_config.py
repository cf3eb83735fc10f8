"""What an encoder has beyond other Transformers. Imports no jax, so that `--help` stays fast."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Interval

from data.errors import UserError
from data.fields import Size, Whole
from model.families.family import Attended
from model.families.transformer_config import TransformerConfig

if TYPE_CHECKING:
    from model.attention.mask import MaskKind


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(TransformerConfig):
    """A bidirectional Transformer: BERT (Devlin et al. 2018), RoBERTa (Liu et al. 2019) and
    ModernBERT (Warner et al. 2024) by configuration."""

    kind: Literal["encoder"] = "encoder"
    """Which family it is."""
    positions: Literal["learned", "rotary", "sinusoidal"] = "learned"
    """How a token knows its place: a learned table, RoPE on queries and keys, or fixed sines."""
    norm_place: Literal["after", "before"] = "after"
    """Where norms stand: after each sum with the residual stream (BERT), or before each sublayer
    and before the head (ModernBERT)."""
    first_norm: bool = True
    """Norm before the first layer's attention, for norms before sublayers. ModernBERT has none, as
    the embedding's stands there."""
    first_position: Whole = 0
    """Row of the position table that the first place has; RoBERTa's is 2."""
    token_types: Whole = 2
    """Kinds of token, each a vector added to its tokens': of the first and the second text of a
    pair; 0 for none."""
    dropout: Annotated[float, Interval(ge=0, le=0.99)] = 0.1
    """Share of the embedding and of each sublayer's output that is 0 in training. Attention weights
    have none, as fast kernels never hold them."""
    window: Size | None = None
    """Keys that a local layer sees on each side, itself included; None is all of them, everywhere.
    """
    global_every: Size = 3
    """With a window, each layer of this number sees all keys, from the first on."""
    local_rope_theta: Annotated[float, Interval(ge=1, le=1e15)] = 10_000.0
    """Base of the rotary wavelengths in local layers."""

    language_question: ClassVar[str] = "masked tokens"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.first_norm and self.norm_place == "after":
            raise UserError(
                "model.first_norm=False must come with model.norm_place=before, because a norm "
                "after a sum cannot be left out; try --model.norm-place before"
            )

    @property
    def masks(self) -> "tuple[MaskKind, ...]":
        from model.attention.mask import MaskKind

        return (MaskKind(causal=False, window=self.window is not None, segments=True),)

    @property
    def last_position(self) -> int | None:
        return self.max_length if self.positions == "learned" else None

    @property
    def attended(self) -> Attended:
        wide = self.num_layers if self.window is None else -(-self.num_layers // self.global_every)
        local = self.num_layers - wide
        windows = ((None, wide), *([(2 * self.window - 1, local)] if self.window else []))
        return Attended(self.num_heads, self.head_dim, windows, causal=False)

    @property
    def residual_sums(self) -> int:
        return 2

    @property
    def reads_last_sum(self) -> bool:
        return self.norm_place == "after"
