"""Invented text."""

from pathlib import Path

from data.config import DataConfig
from data.corpus import open_corpus
from data.sources.source import PIECE, Corpus


def opened(folder: Path, characters: int) -> Corpus:
    config = DataConfig(cache_dir=str(folder))
    return open_corpus(f"synthetic:{characters}", config, lambda line: None)


def test_has_the_size_asked_for_however_it_is_divided(tmp_path: Path) -> None:
    corpus = opened(tmp_path, 2345)
    (piece,) = corpus.pieces()
    documents = list(corpus.read(piece))
    assert [len(text) for text, _, _ in documents] == [1000, 1000, 345]
    assert [place for _, _, place in documents] == [0, 1000, 2000]
    assert len({text for text, _, _ in documents}) == 3
    first, second = opened(tmp_path, PIECE + 1000).pieces()
    assert first.stop == second.start and second.stop == PIECE + 1000
    assert first.start % 1000 == second.start % 1000 == 0
