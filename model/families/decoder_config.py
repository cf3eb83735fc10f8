"""What a decoder has beyond other Transformers. Imports no jax, so that `--help` stays fast."""

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Interval

from data.errors import UserError
from data.fields import Size
from model.families.blocks_config import whole_heads
from model.families.family import Attended, Proportions, Scoring
from model.families.rope_scaling import RopeScaling
from model.families.transformer_config import TransformerConfig
from model.parametrization import EXPONENTS, Scaling

if TYPE_CHECKING:
    from model.attention.mask import MaskKind


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(TransformerConfig):
    """A decoder-only Transformer; one Block covers the published families by configuration."""

    kind: Literal["decoder"] = "decoder"
    """Which family it is."""
    positions: Literal["learned", "rotary", "sinusoidal"] = "learned"
    """How a token knows its place: a learned table, RoPE on queries and keys, or fixed sines."""
    num_kv_heads: Size
    """K, the number of key/value heads; num_heads is multi-head, 1 is multi-query attention."""
    rope_scaling: RopeScaling = field(default_factory=RopeScaling)
    """Stretching of RoPE's wavelengths, but for `local_rope_theta`'s."""
    local_rope_theta: Annotated[float, Interval(ge=1, le=1e15)] | None = None
    """Base of the rotary wavelengths in banded layers (Gemma 3); None is that of the others."""
    rotary_share: Annotated[float, Interval(ge=1e-3, le=1)] = 1.0
    """Share of each head's channels that turn, from the first on; the others know no place."""
    nope_every: Size | None = None
    """The last of so many layers has no RoPE (SmolLM3); None is no layer."""
    qkv_bias: bool = False
    """Biases of queries, keys and values where `bias` is off, as in Qwen2."""
    qk_norm: Literal["none", "head", "all"] = "none"
    """Norms of queries and keys, before they turn: of each head (Qwen3), or of all heads together
    (OLMo 2)."""
    query_scalar: Size | None = None
    """Scores are divided by its square root in place of that of head_dim (Gemma)."""
    attention_softcap: Annotated[float, Interval(ge=1e-3, le=1e6)] | None = None
    """Scores s become c tanh(s / c) before the softmax, with this as c (Gemma 2)."""
    logit_softcap: Annotated[float, Interval(ge=1e-3, le=1e6)] | None = None
    """The same of the scores of tokens."""
    branch_norm: Literal["before", "after", "both"] = "before"
    """What is normed of attention and of feed-forward: what they read, what they add to the
    residual stream (OLMo 2), or both (Gemma)."""
    parallel_block: bool = False
    """PaLM's block: attention and feed-forward read the same norm and are added together."""
    tied_embedding: bool = True
    """The token table is also the output projection."""
    scale_embedding: bool = False
    """Multiply looked-up embeddings by sqrt(D) (Vaswani et al.; PaLM's init has the same
    effect)."""
    window: Size | None = None
    """Keys a banded layer sees, itself included; None is dense attention everywhere."""
    global_every: Size | None = 2
    """With a window, one of so many layers is dense: of two in GPT-3; None is none (Mistral)."""
    global_place: Literal["first", "last"] = "first"
    """Which of them it is."""
    parametrization: Literal["standard", "mup"] = "standard"
    """`mup` scales initial weights, logits and learning rates with the width, so that the best
    rate of a narrow model is that of a wide one (Yang et al. 2022)."""
    base_width: Size | None = None
    """The embed_dim at which `mup` is the standard parametrization: that of the model that was
    tuned. Heads and mlp_dim are taken to have grown in proportion since."""
    base_head_dim: Size | None = None
    """The head_dim at base_width, for `mup` when heads grow wider; None is the same head_dim."""
    depth_scaling: Literal["none", "sqrt", "linear"] = "none"
    """Divide what blocks add to the residual stream by sqrt(L / base_depth) (Bordelon et al. 2023)
    or by L / base_depth (CompleteP, Dey et al. 2025)."""
    base_depth: Size | None = None
    """The num_layers at which depth_scaling changes nothing: that of the model that was tuned."""

    language_question: ClassVar[str] = "next tokens"

    def __post_init__(self) -> None:
        if self.num_kv_heads and self.num_heads % self.num_kv_heads:
            raise UserError(
                f"model.num_kv_heads={self.num_kv_heads} must divide "
                f"model.num_heads={self.num_heads}, because each key/value head "
                "serves the same number of query heads; "
                f"try --model.num-kv-heads {self.num_heads} or 1"
            )
        self._require_base()
        self._require_parts()
        super().__post_init__()

    def _require_parts(self) -> None:
        """ValueError for parts that do not go together."""
        if self.parallel_block and self.branch_norm != "before":
            raise UserError(
                f"model.branch_norm={self.branch_norm} must be before with "
                "model.parallel_block=True, because the two branches have one norm there; try "
                "--model.no-parallel-block"
            )
        if 0 < self.rotary_share < 1 and (self.turned_channels % 2 or not self.turned_channels):
            raise UserError(
                f"model.rotary_share={self.rotary_share} must leave an even number of the "
                f"{self.head_dim} channels of a head, because RoPE turns pairs, but it leaves "
                f"{self.turned_channels}; try --model.rotary-share 0.5"
            )

    def _require_base(self) -> None:
        """ValueError if a base shape is missing, or would be read by nothing."""
        mup, deep = self.parametrization == "mup", self.depth_scaling != "none"
        for name, size, read, choice in (
            ("base_width", self.embed_dim, mup, "--model.parametrization mup"),
            ("base_head_dim", self.head_dim, mup, "--model.parametrization mup"),
            ("base_depth", self.num_layers, deep, "--model.depth-scaling linear"),
        ):
            base, flag = getattr(self, name), f"--model.{name.replace('_', '-')}"
            if base is None and read and name != "base_head_dim":
                raise UserError(
                    f"model.{name}=None must be the size of the model that was tuned, because "
                    f"this one is scaled from it; try {flag} {size}, which changes nothing, and "
                    "keep that value at other sizes"
                )
            if base is not None and not read:
                raise UserError(
                    f"model.{name}={base} must be None here, because only {choice} reads it; "
                    f"try leaving out {flag}, or that with it"
                )

    @property
    def masks(self) -> "tuple[MaskKind, ...]":
        from model.attention.mask import MaskKind

        # Packed rows ask for more than plain ones.
        return (MaskKind(causal=True, window=self.window is not None, segments=True),)

    @property
    def last_position(self) -> int | None:
        return self.max_length if self.positions == "learned" else None

    @property
    def generates(self) -> bool:
        return self.head.kind == "language"

    @property
    def attended(self) -> Attended:
        wide = sum(self.global_layers)
        windows = ((self.window, self.num_layers - wide), (None, wide))
        return Attended(self.num_heads, self.head_dim, windows)

    @property
    def residual_sums(self) -> int:
        return 1 if self.parallel_block else 2

    @property
    def reads_last_sum(self) -> bool:
        return self.branch_norm != "before"

    @property
    def scoring(self) -> Scoring:
        return Scoring(self.vocab_size, self.logit_softcap)

    @property
    def softcap(self) -> float | None:
        return self.attention_softcap

    @property
    def global_layers(self) -> tuple[bool, ...]:
        """Whether each layer is dense."""
        every = 1 if self.window is None else self.global_every
        if every is None:
            return (False,) * self.num_layers
        place = 0 if self.global_place == "first" else every - 1
        return tuple(layer % every == place for layer in range(self.num_layers))

    @property
    def rotated_layers(self) -> tuple[bool, ...]:
        """Whether each layer has RoPE."""
        every = self.nope_every
        return tuple(not every or (n + 1) % every > 0 for n in range(self.num_layers))

    @property
    def turned_channels(self) -> int:
        """Of a head, how many turn with the place."""
        return int(self.head_dim * self.rotary_share)

    @property
    def query_factor(self) -> float:
        """What queries are multiplied by, next to the kernel's 1 / sqrt(head_dim)."""
        scalar = math.sqrt(self.head_dim / (self.query_scalar or self.head_dim))
        return self.scaling.query * scalar

    @property
    def scaling(self) -> Scaling:
        """This shape next to that of the model that was tuned."""
        return Scaling(
            width=self.embed_dim / (self.base_width or self.embed_dim),
            depth=self.num_layers / (self.base_depth or self.num_layers),
            exponent=EXPONENTS[self.depth_scaling],
            base_heads=(self.base_head_dim or self.head_dim) / self.head_dim,
        )

    @property
    def matrix_std(self) -> float:
        """Standard deviation of initial weights of a matrix between two widths: as
        1 / sqrt(fan-in)."""
        return self.init_std / math.sqrt(self.scaling.width)

    @property
    def residual_std(self) -> float:
        """That of matrices that write to the residual stream.

        The standard one falls as 1 / sqrt(2 L). Depth scaling shrinks the branches instead, so that
        L is then the base depth and nothing is scaled twice.
        """
        return self.matrix_std / math.sqrt(2 * (self.base_depth or self.num_layers))

    @property
    def embedding_scale(self) -> float:
        """What `scale_embedding` multiplies by: sqrt(D) of the base, as rows of the table do not
        shrink."""
        return (self.base_width or self.embed_dim) ** 0.5

    def widths(self, width: int, rule: Proportions) -> dict[str, int]:
        sizes = super().widths(width, rule)
        return sizes | {"num_kv_heads": sizes["num_heads"]}

    @property
    def width_fields(self) -> tuple[str, ...]:
        return (*super().width_fields, "num_kv_heads")

    def widened(self, width: int, parametrization: str) -> "DecoderConfig":
        """More heads of the same size, and a feed-forward layer in proportion; ValueError for a
        width that is not made of whole heads."""
        heads = whole_heads(width, "model.head_dim", self.head_dim)
        mup = parametrization == "mup"
        return replace(
            self,
            embed_dim=width,
            num_heads=heads,
            num_kv_heads=max(1, heads * self.num_kv_heads // self.num_heads),
            mlp_dim=max(8, 8 * round(self.mlp_dim / self.embed_dim * width / 8)),
            parametrization="mup" if mup else "standard",
            base_width=self.embed_dim if mup else None,
            base_head_dim=None,
        )

    def sizes(self) -> dict[str, int]:
        return super().sizes() | {"kv_heads": self.num_kv_heads}
