"""Text without a corpus: documents of invented words, for tests and for measuring speed."""

import random
from collections.abc import Iterator

from data.errors import UserError
from data.sources.source import PIECE, Corpus, Document, Piece, Source

VERSION = 1
DOCUMENT = 1000
WORDS = tuple(
    first + second
    for first in ("ba", "de", "fi", "go", "ku", "la", "me", "ni")
    for second in ("", "ra", "se", "ti", "no", "vu", "xa", "zo")
)


class Synthetic(Source):
    """`synthetic:CHARACTERS`."""

    example_where = "1000000"

    def check(self) -> None:
        if not (self.where.isascii() and self.where.isdigit() and int(self.where) > 0):
            raise UserError(
                f"data.sources={self.spec!r} must give a positive number of characters, because "
                "that is its size; try 'synthetic:1000000'"
            )

    def identity(self) -> tuple[object, ...]:
        """One corpus, also where its size is written as 0100."""
        return f"synthetic:{int(self.where)}", VERSION

    def divide(self, corpus: Corpus) -> list[Piece]:
        """Ranges of characters."""
        step, size = PIECE // DOCUMENT * DOCUMENT, int(self.where)
        ranges = [(start, min(start + step, size)) for start in range(0, size, step)]
        return [Piece(file="synthetic", start=a, stop=b, size=b - a) for a, b in ranges]

    def read(self, piece: Piece, field: str) -> Iterator[Document]:
        """Of DOCUMENT characters; each depends on its place alone, early words come often."""
        for place in range(piece.start, piece.stop, DOCUMENT):
            size = min(DOCUMENT, piece.stop - place)
            draw = random.Random(place)
            words = [WORDS[int(len(WORDS) * draw.random() ** 3)] for _ in range(size // 3 + 1)]
            yield Document(" ".join(words)[:size], piece.file, place)
