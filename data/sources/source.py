"""What a kind of source can do: check its words, find its files, divide them into pieces that are
read apart, and read the documents of a piece."""

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from data import system
from data.cache import reachable
from data.errors import UserError

PIECE = 32 << 20
"""Bytes of text, about, that are read and tokenized as one."""


class Unreadable(Exception):
    """A file whose content is not what it should be; `texts` are the fields that hold texts, where
    the one that was asked for is missing."""

    def __init__(self, message: str, texts: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.texts = texts


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a corpus that is read alone; what start and stop count depends on the kind."""

    file: str
    start: int
    stop: int
    size: int
    """Bytes, about."""


class Document(NamedTuple):
    """A text and where it came from; place is a byte offset in the file, or a record's number."""

    text: str
    file: str
    place: int


class Record(NamedTuple):
    """Fields of a record by their names, and where it came from, as in `Document`."""

    values: Mapping[str, Any]
    file: str
    place: int
    where: str
    """The place in words, for messages; empty where a file is one record."""

    @property
    def origin(self) -> str:
        """File and place."""
        return f"{self.file} at {self.where}" if self.where else self.file


@dataclass(frozen=True)
class Source(ABC):
    """An entry of `data.sources`, in words `kind:where`. A kind is a subclass; what imports it is
    light, as configs are checked by it, and the processes that tokenize are sent it."""

    spec: str
    has_fields: ClassVar[bool] = False
    """Whether documents are records, of which `data.text_field` is the text: those of `records`."""
    example_where: ClassVar[str] = "NAME"
    """What follows the colon where messages show an example."""

    @property
    def kind(self) -> str:
        return self.spec.partition(":")[0]

    @property
    def where(self) -> str:
        return self.spec.partition(":")[2]

    @property
    def example(self) -> str:
        """The spec, with an example in place of what is missing."""
        return f"{self.kind}:{self.where or self.example_where}"

    def check(self) -> None:
        """Raise ValueError if the spec cannot be meant; no file is looked for."""
        if not self.where:
            raise UserError(
                f"data.sources={self.spec!r} must say where the corpus lies, because {self.kind} "
                f"alone names none; try {self.example!r}"
            )

    def absolute(self) -> str:
        """The spec, so that it means the same from every working directory."""
        return self.spec

    def files(self, cache_dir: str, report: Callable[[str], None]) -> list[str]:
        """The files whose content, in this order, is the corpus; none where text is computed."""
        return []

    def identity(self) -> tuple[object, ...]:
        """What decides the text of a source without files."""
        return ()

    @abstractmethod
    def divide(self, corpus: "Corpus") -> list[Piece]:
        """The corpus in pieces of about PIECE bytes or less, in order."""

    def read(self, piece: Piece, field: str) -> Iterator[Document]:
        """The documents of a piece, in order; raises Unreadable, with the place, and OSError."""
        for record in self.records(piece, (field,)):
            value = record.values[field]
            if not isinstance(value, str):
                raise Unreadable(
                    f"field {field!r} of {record.where} is {type(value).__name__}, no text"
                )
            yield Document(value, record.file, record.place)

    def records(self, piece: Piece, fields: Sequence[str]) -> Iterator[Record]:
        """The records of a piece, in order, with these fields; raises as `read`."""
        raise UserError(
            f"data.sources={self.spec!r} must hold records, because {' and '.join(fields)} are "
            f"fields of one, but a source {self.kind} is plain text; try csv:, jsonl:, parquet:, "
            "tfds:, images: or npz:"
        )


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """An entry of `data.sources` with its files, and the digest of their content."""

    source: Source
    field: str
    """Field of a record that holds the text; empty where there are no records."""
    files: tuple[str, ...]
    sizes: tuple[int, ...]
    digest: str
    cache_dir: str

    @property
    def spec(self) -> str:
        return self.source.spec

    def pieces(self) -> list[Piece]:
        """The corpus in parts that can be read apart, in order; a TFDS set is built if need be."""
        return self.source.divide(self)

    def read(self, piece: Piece) -> Iterator[Document]:
        """Documents of a piece, in order; ValueError names the file and place of what is bad."""
        with reachable(piece.file), self.readable(piece.file):
            yield from self.source.read(piece, self.field)

    def records(self, piece: Piece, fields: Sequence[str]) -> Iterator[Record]:
        """Records of a piece, in order, with these fields; raises as `read`."""
        with reachable(piece.file), self.readable(piece.file):
            yield from self.source.records(piece, fields)

    @contextmanager
    def readable(self, file: str) -> Iterator[None]:
        """Around what reads the file: what cannot be read becomes a ValueError that names it."""
        try:
            yield
        except (Unreadable, OSError) as error:
            raise self._bad(file, error) from error

    def _bad(self, file: str, error: Exception) -> UserError:
        texts = error.texts if isinstance(error, Unreadable) else ()
        other = " or ".join(map(shlex.quote, texts[:3]))
        other = f"--data.text-field {other}, or " if texts and self.field else ""
        what = (
            f"{error}"
            if isinstance(error, Unreadable)
            else f"the system says: {system.said(error)}"
        )
        return UserError(
            f"data.sources={self.spec!r} must be readable to its end, because no text is left out "
            f"silently, but in {file} {what}; try {other}repairing that file or moving it away"
        )
