"""Sizes and choices of recurrent networks. Imports no jax, so that `--help` stays fast."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from annotated_types import Interval

from data.errors import UserError
from data.fields import Layers, Size
from model.families import table
from model.families.family import Attended, FamilyConfig
from model.head_config import HeadConfig

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray


@dataclass(frozen=True, kw_only=True)
class CellsConfig(FamilyConfig):
    """What networks of recurrent layers over a table of tokens share."""

    cell: Literal["lstm", "gru"] = "lstm"
    """Which cell: LSTM (Hochreiter & Schmidhuber 1997) or GRU (Cho et al. 2014)."""
    vocab_size: Size
    """Number of token ids the tokenizer can produce."""
    vocab_multiple: Size = 1
    """The embedding has vocab_size rounded up to this multiple."""
    num_layers: Layers
    """L, the number of layers."""
    embed_dim: Size
    """D, the width of the token vectors."""
    hidden_dim: Size
    """H, the width of what a layer gives; a bidirectional one gives half of it in each direction.
    """
    bidirectional: bool = False
    """Read a text from both ends."""
    tied_embedding: bool = True
    """The token table is also the output projection."""
    dropout: Annotated[float, Interval(ge=0, le=0.99)] = 0.0
    """Share of what each layer reads, and of what is scored, that is 0 in training (Zaremba et al.
    2014)."""
    init_std: Annotated[float, Interval(ge=1e-30, le=1e3)] = 0.1
    """Standard deviation of initial tables; weights of cells are uniform up to 1 / sqrt(H)."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """What is asked of the hidden states."""

    heads: ClassVar[tuple[str, ...]]
    """Kinds of head that it has."""

    def __post_init__(self) -> None:
        if self.head.kind not in self.heads:
            raise UserError(
                f"model.head.kind={self.head.kind} must be {' or '.join(self.heads)} with "
                f"model.kind={self.kind}, because its layers have no other head; try "
                f"--model.head.kind {self.heads[-1]}"
            )
        if self.bidirectional and self.hidden_dim % 2:
            raise UserError(
                f"model.hidden_dim={self.hidden_dim} must be even with model.bidirectional=True, "
                "because each direction gives half of it; try --model.hidden-dim "
                f"{self.hidden_dim + 1}"
            )

    def _require_tied(self) -> None:
        """ValueError if the table of tokens is to score states of another width."""
        if self.tied_embedding and self.embed_dim != self.hidden_dim:
            raise UserError(
                f"model.embed_dim={self.embed_dim} must be model.hidden_dim={self.hidden_dim} with "
                "model.tied_embedding=True, because the token table scores what the last layer "
                f"gives; try --model.embed-dim {self.hidden_dim}, or --model.no-tied-embedding"
            )

    def build(self, key: "PRNGKeyArray") -> Any:
        """The network of `model.families.table` with fresh weights on the current mesh."""
        return table.build(self, key)

    @property
    def vocabulary(self) -> int:
        return self.vocab_size

    @property
    def table_rows(self) -> int:
        """V, rows of the embedding: vocab_size rounded up to vocab_multiple."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    @property
    def width(self) -> int:
        return self.hidden_dim

    @property
    def depth(self) -> int:
        return self.num_layers

    def with_depth(self, layers: int) -> Self:
        return replace(self, num_layers=layers)

    def with_length(self, length: int) -> Self:
        """The same: it has no lengths."""
        return self

    def sizes(self) -> dict[str, int]:
        return {
            "layers": self.num_layers,
            "width": self.hidden_dim,
            "embedding_width": self.embed_dim,
            "vocabulary": self.vocab_size,
        }


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(CellsConfig):
    """LSTM or GRU layers over a table of tokens: a language model, or what labels texts or words.

    Texts that are packed into a row do not see each other: the states begin anew with each.
    """

    kind: Literal["recurrent"] = "recurrent"
    """Which family it is."""

    heads: ClassVar[tuple[str, ...]] = ("language", "labels", "tags")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.generates and self.bidirectional:
            raise UserError(
                "model.bidirectional=True must be False with model.head.kind=language, because a "
                "layer that reads from the end sees the token that is to be predicted; try "
                "--model.no-bidirectional"
            )
        if self.generates:
            self._require_tied()
        pooling, whole = self.head.pooling, ("mean",) if self.bidirectional else ("mean", "last")
        if self.head.kind == "labels" and pooling not in whole:
            raise UserError(
                f"model.head.pooling={pooling} must be {' or '.join(whole)} with "
                f"model.bidirectional={self.bidirectional}, because at an end of the text a layer "
                "that begins there has read one token; try --model.head.pooling mean"
            )

    @property
    def generates(self) -> bool:
        return self.head.kind == "language"

    @property
    def questions(self) -> tuple[str, ...]:
        return ("next tokens" if self.generates else self.head.kind,)


@dataclass(frozen=True, kw_only=True)
class RecurrentEncoderDecoderConfig(CellsConfig):
    """A text read by recurrent layers and another written by as many, which begin with the last
    states of those (Sutskever et al. 2014; Cho et al. 2014), with attention or without."""

    kind: Literal["recurrent_encoder_decoder"] = "recurrent_encoder_decoder"
    """Which family it is."""
    attention: bool = True
    """What is written sees all states of the source (Luong et al. 2015: global, `general`), not
    the last alone."""

    heads: ClassVar[tuple[str, ...]] = ("language",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_tied()

    def attentions(self, written: float) -> tuple[Attended, ...]:
        """Of what is written to the source."""
        own = Attended(1, self.hidden_dim, ((None, 1),), causal=False, queries=written)
        return (own,) if self.attention else ()

    def met(self, weight: str, written: float) -> float:
        """Layers that write and their attention meet the targets, those that read the sources."""
        return written if weight.startswith(("decoder/", "attention/")) else 1.0

    @property
    def questions(self) -> tuple[str, ...]:
        return ("targets",)
