"""A source outside the packages: `numbers:MANY`, their squares in words. No table names it."""

from collections.abc import Iterator

from data.config import DataConfig
from data.sources.source import Corpus, Document, Piece, Source


class Numbers(Source):
    def check(self) -> None:
        if not self.where.isdecimal():
            raise ValueError(f"data.sources={self.spec!r} must be a number; try 'numbers:100'")

    def identity(self) -> tuple[object, ...]:
        return "numbers", int(self.where)

    def divide(self, corpus: Corpus) -> list[Piece]:
        starts = range(0, int(self.where), 100)
        ends = [*starts[1:], int(self.where)]
        pieces = zip(starts, ends, strict=True)
        return [Piece(file="numbers", start=a, stop=b, size=20 * (b - a)) for a, b in pieces]

    def read(self, piece: Piece, field: str) -> Iterator[Document]:
        for n in range(piece.start, piece.stop):
            yield Document(f"{n} times {n} is {n * n}", piece.file, n)


class NumbersData(DataConfig):
    def source_of(self, spec: str) -> Source:
        return Numbers(spec) if spec.startswith("numbers:") else super().source_of(spec)
