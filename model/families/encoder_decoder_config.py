"""What an encoder-decoder has beyond other Transformers. Imports no jax, so that `--help` stays
fast."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from annotated_types import Interval

from data.errors import UserError
from data.fields import Layers, Size
from model.families.family import Attended, LayerStack, Proportions
from model.families.transformer_config import TransformerConfig

if TYPE_CHECKING:
    from model.attention.mask import MaskKind


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(TransformerConfig):
    """A text read by one stack and another written by a second: the Transformer of Vaswani et al.
    2017, and T5 (Raffel et al. 2020) in its versions 1.0 and 1.1, by configuration. `num_layers`
    are those that read."""

    kind: Literal["encoder_decoder"] = "encoder_decoder"
    """Which family it is."""
    decoder_layers: Layers | None = None
    """Layers of the stack that writes; None is as many as read."""
    positions: Literal["relative", "sinusoidal", "learned"] = "relative"
    """How a token knows its place: a number for each head and distance, added to the scores of
    self-attention (T5), fixed sines (Vaswani), or a learned table for each stack."""
    relative_buckets: Annotated[int, Interval(ge=4, le=65_536)] = 32
    """Numbers a head has for distances; half of them are of later tokens where these are seen."""
    relative_distance: Size = 128
    """Distance from which all are in one bucket."""
    norm_place: Literal["before", "after"] = "before"
    """Where norms stand: before each sublayer and after each stack (T5), or after each sum with the
    residual stream (Vaswani)."""
    scale_scores: bool = True
    """Divide scores by sqrt(head_dim). T5 does not: its first queries are smaller by as much."""
    tied_embedding: bool = True
    """The token table, which both stacks read, is also the output projection."""
    scale_embedding: bool = False
    """Multiply looked-up embeddings by sqrt(D) (Vaswani)."""
    scale_logits: bool = False
    """Divide what the output projection scores by sqrt(D) (T5 1.0)."""
    dropout: Annotated[float, Interval(ge=0, le=0.99)] = 0.1
    """Share of the embeddings and of each sublayer's output that is 0 in training."""

    language_question: ClassVar[str] = "targets"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head.kind != "language":
            raise UserError(
                f"model.head.kind={self.head.kind} must be language, because an encoder-decoder "
                "answers by writing; try --model.head.kind language"
            )
        if self.relative_buckets % 4:
            raise UserError(
                f"model.relative_buckets={self.relative_buckets} must be a multiple of 4, because "
                "half are of later tokens and half of those of near ones; try "
                f"--model.relative-buckets {-(-self.relative_buckets // 4) * 4}"
            )
        if self.relative_distance <= self.relative_buckets // 2:
            raise UserError(
                f"model.relative_distance={self.relative_distance} must be more than half of "
                f"model.relative_buckets={self.relative_buckets}, because so many near distances "
                "have a bucket each; try --model.relative-distance "
                f"{4 * self.relative_buckets}"
            )

    @property
    def writing_layers(self) -> int:
        """Layers of the decoder."""
        return self.decoder_layers or self.num_layers

    @property
    def masks(self) -> "tuple[MaskKind, ...]":
        from model.attention.mask import MaskKind

        return (
            MaskKind(causal=False, segments=True),
            MaskKind(causal=True, segments=True),
            MaskKind(causal=False, segments=True, separate_keys=True),
        )

    @property
    def biased(self) -> bool:
        return self.positions == "relative"

    @property
    def last_position(self) -> int | None:
        return self.max_length if self.positions == "learned" else None

    @property
    def attended(self) -> Attended:
        """That of the stack that reads."""
        return Attended(self.num_heads, self.head_dim, ((None, self.num_layers),), causal=False)

    def attentions(self, written: float) -> tuple[Attended, ...]:
        """Of the stack that reads, of that which writes, and of this to the source."""
        read, layers = self.attended, ((None, self.writing_layers),)
        own = read._replace(windows=layers, causal=True, queries=written, keys=written)
        return read, own, read._replace(windows=layers, queries=written)

    def stacks(self, written: float) -> tuple[LayerStack, ...]:
        """The stack that reads a row's places, and that which writes a share of as many."""
        writer = LayerStack("decoder/", self.writing_layers, 3, written, read=1.0)
        return LayerStack("encoder/", self.num_layers, 2), writer

    def met(self, weight: str, written: float) -> float:
        """Keys and values of the source are made by the stack that writes."""
        across = "decoder/blocks/cross_attention"
        reads = not weight.startswith("decoder/") or weight in (f"{across}/w_k", f"{across}/w_v")
        return 1.0 if reads else written

    @property
    def depth(self) -> int:
        """Layers of both stacks."""
        return self.num_layers + self.writing_layers

    def with_depth(self, layers: int) -> Self:
        """So many in all, at least one of each stack, in the same proportion; ValueError if
        they are fewer than 2."""
        if layers < 2:
            raise UserError(
                f"{layers} layers must be at least 2, because those of both stacks are counted, "
                "that which reads and that which writes; try 2"
            )
        read = min(max(1, round(layers * self.num_layers / self.depth)), layers - 1)
        return replace(self, num_layers=read, decoder_layers=layers - read)

    def widths(self, width: int, rule: Proportions) -> dict[str, int]:
        """The stack that writes keeps its depth in proportion to that which reads."""
        sizes = super().widths(width, rule)
        deep = round(sizes["num_layers"] * self.writing_layers / self.num_layers)
        return sizes | ({"decoder_layers": max(1, deep)} if self.decoder_layers else {})

    @property
    def width_fields(self) -> tuple[str, ...]:
        return (*super().width_fields, "decoder_layers")

    @property
    def residual_sums(self) -> int:
        """Of a layer that writes."""
        return 3

    @property
    def reads_last_sum(self) -> bool:
        return self.norm_place == "after"

    @property
    def query_factor(self) -> float:
        """What queries are multiplied by, next to the kernel's 1 / sqrt(head_dim)."""
        return 1.0 if self.scale_scores else math.sqrt(self.head_dim)
