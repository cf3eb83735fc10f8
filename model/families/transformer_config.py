"""Sizes and choices that decoders and encoders share. Imports no jax, so that `--help` is fast."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

from annotated_types import Interval

from data.errors import UserError
from data.fields import Size
from model.families.blocks_config import BlocksConfig


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(BlocksConfig):
    """Transformer blocks over a table of tokens."""

    vocab_size: Size
    """Number of token ids the tokenizer can produce."""
    max_length: Size
    """Longest sequence the model is built for (the size of the learned position table)."""
    positions: str = "learned"
    """How a token knows its place."""
    rope_theta: Annotated[float, Interval(ge=1, le=1e15)] = 10_000.0
    """Base of the rotary wavelengths."""
    vocab_multiple: Size = 1
    """The embedding has vocab_size rounded up to this multiple, so that `tensor` divides it."""

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

    def with_length(self, length: int) -> Self:
        return replace(self, max_length=length)

    def padded_for(self, tensor: int) -> Self:
        if self.table_rows % tensor == 0:
            return self
        return replace(self, vocab_multiple=math.lcm(self.vocab_multiple, tensor, 128))

    def sizes(self) -> dict[str, int]:
        return {**super().sizes(), "vocabulary": self.vocab_size}
