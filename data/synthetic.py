"""Text without a corpus: documents of invented words, for tests and for measuring speed."""

import random
from collections.abc import Iterator

from data.formats import PIECE, Piece

VERSION = 1
DOCUMENT = 1000
WORDS = tuple(
    first + second
    for first in ("ba", "de", "fi", "go", "ku", "la", "me", "ni")
    for second in ("", "ra", "se", "ti", "no", "vu", "xa", "zo")
)


def divide_synthetic(characters: int) -> list[Piece]:
    """Ranges of characters."""
    step = PIECE // DOCUMENT * DOCUMENT
    ranges = [(start, min(start + step, characters)) for start in range(0, characters, step)]
    return [Piece(file="synthetic", start=a, stop=b, size=b - a) for a, b in ranges]


def read_synthetic(piece: Piece) -> Iterator[tuple[str, int]]:
    """Documents of DOCUMENT characters; each depends on its place alone, early words come often."""
    for place in range(piece.start, piece.stop, DOCUMENT):
        size = min(DOCUMENT, piece.stop - place)
        draw = random.Random(place)
        words = [WORDS[int(len(WORDS) * draw.random() ** 3)] for _ in range(size // 3 + 1)]
        yield " ".join(words)[:size], place
