"""Sizes and choices of one architecture. Imports no jax, so that `--help` stays fast."""

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval

from data.errors import UserError
from data.fields import FREE, Layers, Size
from model.families import table
from model.families.family import Attended, FamilyConfig, Proportions
from model.parametrization import EXPONENTS, Scaling

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(FamilyConfig):
    """A decoder-only Transformer; one Block covers the published families by configuration."""

    kind: Literal["decoder"] = "decoder"
    """Which family it is."""
    vocab_size: Size
    """Number of token ids the tokenizer can produce."""
    num_layers: Layers
    """L, the number of blocks."""
    embed_dim: Size
    """D, the width of the residual stream."""
    num_heads: Size
    """N, the number of query heads."""
    num_kv_heads: Size
    """K, the number of key/value heads; num_heads is multi-head, 1 is multi-query attention."""
    head_dim: Size
    """H, the width of one head."""
    mlp_dim: Size
    """F, the hidden width of the feed-forward layer."""
    max_length: Size
    """Longest sequence the model is built for (the size of the learned position table)."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    """Normalization before each sublayer and before the logits."""
    norm_epsilon: Annotated[float, Interval(ge=1e-30, le=1)] = 1e-5
    """Added to the variance inside the norm."""
    positions: Literal["learned", "rotary", "sinusoidal"] = "learned"
    """How a token knows its place: a learned table, RoPE on queries and keys, or fixed sines."""
    rope_theta: Annotated[float, Interval(ge=1, le=1e15)] = 10_000.0
    """Base of the rotary wavelengths."""
    rope_scaling_factor: Annotated[float, Interval(ge=1, le=1e6)] = 1.0
    """Stretching of long rotary wavelengths as in Llama 3.1 (8 there, 32 in 3.2); 1 is off."""
    activation: Literal["gelu", "gelu_tanh", "silu", "relu"] = "gelu_tanh"
    """Non-linearity of the feed-forward layer."""
    gated: bool = False
    """Gate the feed-forward layer (SwiGLU with `silu`): a third matrix multiplies the
    activation."""
    bias: bool = True
    """Biases in projections and norms."""
    parallel_block: bool = False
    """PaLM's block: attention and feed-forward read the same norm and are added together."""
    tied_embedding: bool = True
    """The token table is also the output projection."""
    scale_embedding: bool = False
    """Multiply looked-up embeddings by sqrt(D) (Vaswani et al.; PaLM's init has the same
    effect)."""
    window: Size | None = None
    """Keys a banded layer sees, itself included; None is dense attention everywhere."""
    window_layers: Literal["all", "alternate"] = "alternate"
    """Which layers are banded when `window` is set: all, or every other one (GPT-3)."""
    vocab_multiple: Size = 1
    """The embedding has vocab_size rounded up to this multiple, so that `tensor` divides it."""
    init_std: Annotated[float, Interval(ge=1e-30, le=1e3)] = 0.02
    """Standard deviation of initial weights; residual outputs divide it by sqrt(2 L)."""
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
    attention: Literal["auto", "xla", "blocked", "cudnn", "splash"] = field(
        default="auto", metadata=FREE
    )
    """Attention kernel; auto takes the best one the backend has and the log names it."""

    def __post_init__(self) -> None:
        if self.num_kv_heads and self.num_heads % self.num_kv_heads:
            raise UserError(
                f"model.num_kv_heads={self.num_kv_heads} must divide "
                f"model.num_heads={self.num_heads}, because each key/value head "
                "serves the same number of query heads; "
                f"try --model.num-kv-heads {self.num_heads} or 1"
            )
        self._require_base()
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
    def table_rows(self) -> int:
        """V, rows of the embedding: vocab_size rounded up to vocab_multiple."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    def build(self, key: "PRNGKeyArray") -> Any:
        """The `model.families.decoder.Decoder` with fresh weights on the current mesh."""
        return table.build(self, key)

    def resolve(self, backend: str) -> "DecoderConfig":
        """This config with compute type and attention kernel settled for the backend."""
        from model.attention.kernels import choose_kernel
        from model.attention.mask import MaskKind

        settled = super().resolve(backend)
        assert isinstance(settled, DecoderConfig)
        # Packed rows ask for more than plain ones.
        mask = MaskKind(causal=True, window=self.window is not None, segments=True)
        kernel = choose_kernel(
            self.attention,
            dtype=settled.dtype,
            head_dim=self.head_dim,
            masks=(mask,),
            backend=backend,
        )
        return replace(settled, attention=kernel)

    @property
    def longest_row(self) -> int:
        return self.max_length

    @property
    def last_position(self) -> int | None:
        return self.max_length if self.positions == "learned" else None

    @property
    def generates(self) -> bool:
        return True

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

    @property
    def attended(self) -> Attended:
        banded = self.num_layers if self.window_layers == "all" else self.num_layers // 2
        windows = ((self.window, banded), (None, self.num_layers - banded))
        return Attended(self.num_heads, self.head_dim, windows)

    @property
    def residual_sums(self) -> int:
        return 1 if self.parallel_block else 2

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

    def with_depth(self, layers: int) -> "DecoderConfig":
        return replace(self, num_layers=layers)

    def with_length(self, length: int) -> "DecoderConfig":
        return replace(self, max_length=length)

    def of_width(self, width: int, rule: Proportions) -> "DecoderConfig":
        """Layers, heads and feed-forward width as the rule says; ValueError for a width that is
        not made of whole heads."""
        heads = _whole_heads(width, "family.head_dim", rule.head_dim)
        return replace(
            self,
            embed_dim=width,
            num_layers=max(1, round(width / rule.width_per_layer)),
            num_heads=heads,
            num_kv_heads=heads,
            head_dim=rule.head_dim,
            mlp_dim=max(8, 8 * round(rule.mlp_ratio * width / 8)),
        )

    @property
    def width_fields(self) -> tuple[str, ...]:
        return ("embed_dim", "num_layers", "num_heads", "num_kv_heads", "head_dim", "mlp_dim")

    def widened(self, width: int, parametrization: str) -> "DecoderConfig":
        """More heads of the same size, and a feed-forward layer in proportion; ValueError for a
        width that is not made of whole heads."""
        heads = _whole_heads(width, "model.head_dim", self.head_dim)
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

    def padded_for(self, tensor: int) -> "DecoderConfig":
        if self.table_rows % tensor == 0:
            return self
        return replace(self, vocab_multiple=math.lcm(self.vocab_multiple, tensor, 128))

    def sizes(self) -> dict[str, int]:
        return {
            "layers": self.num_layers,
            "width": self.embed_dim,
            "mlp_width": self.mlp_dim,
            "heads": self.num_heads,
            "kv_heads": self.num_kv_heads,
            "head_width": self.head_dim,
            "vocabulary": self.vocab_size,
        }


def _whole_heads(width: int, field: str, head_dim: int) -> int:
    """How many heads make up the width; ValueError if they do not."""
    if width < 1 or width % head_dim:
        near = max(1, round(width / head_dim)) * head_dim
        raise UserError(
            f"widths={width} must be a multiple of {field}={head_dim}, because it is made of whole "
            f"heads; try {near}"
        )
    return width // head_dim
