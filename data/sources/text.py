"""Plain text in UTF-8, also compressed: a file is a document."""

from collections.abc import Iterator

from data.sources.compressed import chunks
from data.sources.paths import Paths
from data.sources.source import Document, Piece
from data.sources.utf8 import decoded


class Text(Paths):
    """`text:GLOB`."""

    def divide_file(self, file: str, size: int) -> list[Piece]:
        return [Piece(file=file, start=0, stop=size, size=size)]

    def read(self, piece: Piece, field: str) -> Iterator[Document]:
        yield Document(decoded(b"".join(chunks(piece.file)), 0), piece.file, 0)
