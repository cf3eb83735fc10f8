"""What a kind of source can do: check its words, find its files, divide them into pieces that are
read apart, and read the documents of a piece."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from data.errors import UserError

if TYPE_CHECKING:
    from data.corpus import Corpus

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


@dataclass(frozen=True)
class Source(ABC):
    """An entry of `data.sources`, in words `kind:where`. A kind is a subclass; what imports it is
    light, as configs are checked by it, and the processes that tokenize are sent it."""

    spec: str
    has_fields: ClassVar[bool] = False
    """Whether documents are records, of which `data.text_field` is the text."""
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

    @abstractmethod
    def read(self, piece: Piece, field: str) -> Iterator[Document]:
        """The documents of a piece, in order; raises Unreadable, with the place, and OSError."""
