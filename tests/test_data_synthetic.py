"""Invented text."""

from data.formats import PIECE
from data.synthetic import divide_synthetic, read_synthetic


def test_has_the_size_asked_for_however_it_is_divided() -> None:
    (piece,) = divide_synthetic(2345)
    documents = list(read_synthetic(piece))
    assert [len(text) for text, _ in documents] == [1000, 1000, 345]
    assert [place for _, place in documents] == [0, 1000, 2000]
    assert len({text for text, _ in documents}) == 3
    first, second = divide_synthetic(PIECE + 1000)
    assert first.stop == second.start and second.stop == PIECE + 1000
    assert first.start % 1000 == second.start % 1000 == 0
