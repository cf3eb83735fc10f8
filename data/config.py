"""What a run asks of its data config, and that of text: where it comes from and how it becomes
rows. Imports no grain, so that `--help` stays fast."""

import dataclasses
import math
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from annotated_types import Interval

from data import system
from data.cache import is_remote
from data.errors import UserError
from data.fields import FREE, Seed, Share, Size
from data.rows import table as rows_table
from data.sources import table
from data.sources.source import Source

if TYPE_CHECKING:
    from data.batch import Batch, TokenRows
    from data.rows.predictor import Predictor
    from data.rows.rows import Rows, Split
    from data.tokenizer import Tokenizer


def to_stderr(line: str) -> None:
    """Print a line where it is not mistaken for a result."""
    print(line, file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class DataKind(ABC):
    """What a run asks of its data config: a frozen dataclass, of this module or from elsewhere.

    Fields whose metadata says `"resume": "free"` may change when a run is resumed. The attributes
    here may be fields or properties: sequence_length, the places of a row that the model works on,
    by which speed and cost are counted; packing, whether rows hold several documents that segment
    ids keep apart; cache_dir, where what is made of the data may be kept, and compiled programs.
    """

    if TYPE_CHECKING:
        sequence_length: int = 0
        packing: bool = False
        cache_dir: str = ""
    else:
        packing = False
        cache_dir = "~/.cache/meshloom"

    @property
    def scored_share(self) -> float:
        """Share of the places of a row whose hidden states are scored by the table of tokens."""
        return 1.0

    @abstractmethod
    def open_rows(self, split: "Split", *, report: Callable[[str], None] = to_stderr) -> "Rows":
        """The rows of a split, which are made ready first; `report` is given lines about that."""

    @abstractmethod
    def batch_shapes(self, batch_size: int) -> "Batch":
        """A batch of that size in shapes and types alone: arrays without memory of their own."""

    def absolute(self) -> Self:
        """The same data, named so that it means the same from every working directory."""
        return self

    def moved(self, places: Mapping[str, Any]) -> Self:
        """The same data of a run that is over, with the fields that say where they lie now."""
        known = {f.name for f in dataclasses.fields(self)}
        if strange := sorted(set(places) - known):
            raise UserError(
                f"data.{strange[0]}={places[strange[0]]} must be a field of "
                f"{type(self).__name__}, because it is to say where the data lie now; try without"
            )
        return dataclasses.replace(self, **places)

    def load_tokenizer(self) -> "Tokenizer | None":
        """What makes text of a model's tokens, before any row is made; None if nothing does."""
        return None

    def open_predictor(self, tokenizer: Any, meta: Mapping[str, Any]) -> "Predictor | None":
        """How a model that was trained on these data is asked other texts, whose checkpoint has
        that meta; None if it cannot be."""
        return None


@dataclass(frozen=True, kw_only=True)
class CorporaConfig(DataKind):
    """Sources that are read. Where they lie may change on resume: the digest of what they hold must
    match."""

    sources: tuple[str, ...] = field(default=(), metadata=FREE)
    """Corpora, each `kind:where`."""
    seed: Seed = 0
    """Seed of the row order."""
    cache_dir: str = field(default="~/.cache/meshloom", metadata=FREE)
    """Where token stores lie; a local path, gs:// or s3:// (then mirrored in ~/.cache/meshloom)."""

    source_fields: ClassVar[tuple[str, ...]] = ("sources",)
    """Fields that name corpora."""
    path_fields: ClassVar[tuple[str, ...]] = ("cache_dir",)
    """Fields that name other places."""
    example_source: ClassVar[str] = "stdlib"
    """A spec, for messages."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise UserError(
                "data.sources=() must name at least one corpus, because rows are made of what it "
                f"holds; try --data.sources {self.example_source}"
            )
        # First, as the other messages show what they refuse.
        for name in (*self.source_fields, *self.path_fields):
            _check_no_password(name, str(getattr(self, name)))
        for name in self.source_fields:
            for source in getattr(self, name):
                self.source_of(source).check()

    @property
    def document_field(self) -> str:
        """Field of a record that is a document's text; empty if more fields than one are read."""
        return ""

    def source_of(self, spec: str) -> Source:
        """The source that `spec` means; ValueError if its kind is not known. A subclass, passed
        from Python, knows kinds that are not in the table."""
        return table.source_of(spec)

    def absolute(self) -> Self:
        """The config with absolute paths in place of those of this directory and of `~`; URLs,
        names and sizes stay. Its rows follow from what the files hold, not from where they lie."""
        changed: Any = {
            name: tuple(self.source_of(spec).absolute() for spec in getattr(self, name))
            for name in self.source_fields
        }
        changed |= {name: _absolute(name, getattr(self, name)) for name in self.path_fields}
        return dataclasses.replace(self, **changed)


@dataclass(frozen=True, kw_only=True)
class SourcesConfig(CorporaConfig):
    """Sources of text, what makes tokens of them, and the shape of rows."""

    sources: tuple[str, ...] = field(default=("stdlib",), metadata=FREE)
    """Corpora, each `kind:where`: `text:GLOB`, `jsonl:GLOB`, `csv:GLOB`, `parquet:GLOB`,
    `tfds:NAME` or `tfds:NAME@SPLIT`, `conll:GLOB`, `synthetic:CHARACTERS`, or `stdlib`, the
    sources of this Python's standard library. Paths may be local, gs:// or s3://."""
    tokenizer: str = field(default="bytes", metadata=FREE)
    """`bytes`, or the path of a `tokenizer.json` or a SentencePiece `.model`."""
    begin_token: str | None = field(default=None, metadata=FREE)
    """Special token that is the input before a document; if not given, what the tokenizer's own
    template puts before a text, else the end token."""
    end_token: str | None = field(default=None, metadata=FREE)
    """Special token that is the target after a document; if not given, what the tokenizer's files
    declare."""
    sequence_length: Size = 256
    """T, tokens in a row."""
    held_out: Annotated[float, Interval(ge=0, le=0.999)] = 0.01
    """Share of documents, chosen by the hash of their text, that is kept for evaluation."""

    path_fields: ClassVar[tuple[str, ...]] = ("tokenizer", "cache_dir")

    def load_tokenizer(self) -> "Tokenizer":
        """The tokenizer that the config names; ValueError as from `data.tokenizer`."""
        from data.tokenizer import load_tokenizer

        return load_tokenizer(self.tokenizer, self.begin_token, self.end_token)


@dataclass(frozen=True, kw_only=True)
class TextConfig(SourcesConfig):
    """Text joined to a stream and cut into rows; with the seed it fixes the order of every row."""

    weights: tuple[Annotated[float, Interval(ge=1e-15, le=1e15)], ...] = ()
    """Share of rows drawn from each source, kept within 1 %; empty mixes in proportion to size."""
    text_field: str = "text"
    """Field of a JSONL, Parquet or TFDS record that holds the text."""
    lost_characters: Share = field(default=0.001, metadata=FREE)
    """Share of the characters of a shard (about 32 MiB of text) that the tokenizer may lose or
    replace."""

    @property
    def window_length(self) -> int:
        """Tokens of text that a row is made of."""
        return self.sequence_length

    @property
    def document_field(self) -> str:
        return self.text_field

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_weights(self.weights, self.sources)

    def moved(self, places: Mapping[str, Any]) -> Self:
        """The config with sources, tokenizer or cache where they lie now."""
        # What a tokenizer may lose was decided when the run began, and its digest says the rest.
        return super().moved({**places, "lost_characters": 1.0})


@dataclass(frozen=True, kw_only=True)
class DocumentsConfig(TextConfig):
    """Text whose documents a row may keep apart."""

    packing: bool = True
    """Keep documents apart inside a row: segment ids stop attention and positions restart. False is
    the plain stream."""


@dataclass(frozen=True, kw_only=True)
class DataConfig(DocumentsConfig):
    """Text whose rows ask for the next token."""

    kind: Literal["tokens"] = "tokens"
    """What the rows ask for: the next token."""
    begin_rows: bool = False
    """Begin each row as a document: its first input is the token before a document, whatever stood
    there. Gemma's attention needs that token."""

    def open_rows(self, split: "Split", *, report: Callable[[str], None] = to_stderr) -> "Rows":
        """The `data.rows.tokens.TokenWindows` of a split; what the cache lacks is tokenized first.

        ValueError if a source, the tokenizer or the store cannot be read, or holds less than a row.
        """
        return rows_table.open_rows("tokens", self, split, report)

    def batch_shapes(self, batch_size: int) -> "TokenRows":
        """A batch of that size in shapes and types alone."""
        import numpy as np

        from data.batch import TokenRows

        shape = (batch_size, self.sequence_length)
        ids = np.broadcast_to(np.int32(0), shape)
        places = ids if self.packing else None
        return TokenRows(ids, ids, places, places, np.broadcast_to(np.float32(0), shape))


@dataclass(frozen=True, kw_only=True)
class MaskedConfig(DocumentsConfig):
    """Text of whose rows some tokens are hidden, to be predicted from both sides."""

    kind: Literal["masked"] = "masked"
    """What the rows ask for: hidden tokens."""
    masked_share: Annotated[float, Interval(ge=0.001, le=0.9)] = 0.15
    """Share of the places of a row that are predicted: of these, 80 % are hidden, 10 % show another
    token, and 10 % what they are."""
    whole_words: bool = False
    """Hide all tokens of a word or none."""

    @property
    def masked_places(self) -> int:
        """K, places of a row that are predicted."""
        return math.ceil(self.masked_share * self.sequence_length)

    @property
    def scored_share(self) -> float:
        return self.masked_places / self.sequence_length

    def open_rows(self, split: "Split", *, report: Callable[[str], None] = to_stderr) -> "Rows":
        """The `data.rows.masked.MaskedWindows` of a split."""
        return rows_table.open_rows("masked", self, split, report)

    def batch_shapes(self, batch_size: int) -> "Batch":
        """A batch of that size in shapes and types alone."""
        return rows_table.batch_shapes("masked", self, batch_size)

    def open_predictor(self, tokenizer: Any, meta: Mapping[str, Any]) -> "Predictor":
        """How a model that was trained on these data is asked texts with masks."""
        return rows_table.open_predictor("masked", self, tokenizer, meta)


def _absolute(field: str, path: str) -> str:
    if (field, path) == ("tokenizer", "bytes") or (is_remote(path) and not os.path.lexists(path)):
        return path
    return os.path.abspath(system.expanded(f"data.{field}", path))


def _check_no_password(name: str, text: str) -> None:
    """Raise ValueError, without its text, if a URL holds credentials: configs are written down."""
    if re.search(r"://[^/\s'\"]*@", text):
        raise UserError(
            f"data.{name}=(hidden) must hold no user name or password in a URL, because the config "
            "is written into run directories and checkpoints; try the credentials file or "
            "environment variables of that storage"
        )


def _check_weights(weights: tuple[float, ...], sources: tuple[str, ...]) -> None:
    if weights and len(weights) != len(sources):
        raise UserError(
            f"data.weights={weights} must hold one weight for each of the {len(sources)} sources, "
            f"because it has {len(weights)}; try --data.weights {' '.join('1' for _ in sources)}"
        )
