from pathlib import Path

import pytest

from data.sources.conll import Conll
from data.sources.source import Piece, Unreadable

TEXT = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\n"


def sentences(path: Path, *fields: str) -> list[tuple[dict, int]]:
    piece = Piece(file=str(path), start=0, stop=path.stat().st_size, size=0)
    source = Conll(f"conll:{path}")
    return [(dict(record.values), record.place) for record in source.records(piece, fields)]


def test_sentences_are_columns_between_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text(TEXT)
    assert sentences(path, "words", "tags") == [
        ({"words": ["EU", "rejects"], "tags": ["B-ORG", "O"]}, 3),
        ({"words": ["Peter"], "tags": ["B-PER"]}, 7),
    ]
    assert sentences(path, "1")[0][0] == {"1": ["NNP", "VBZ"]}


def test_tabs_part_words_with_blanks(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("New York\tB-LOC\r\n\t\r\nis\tO\n")
    assert [values["words"] for values, _ in sentences(path, "words")] == [["New York"], ["is"]]


def test_a_line_of_other_columns_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("EU NNP B-ORG\nrejects VBZ\n")
    with pytest.raises(Unreadable, match="line 2 must have 3 columns, as line 1, but has 2"):
        sentences(path, "words")
    path.write_text("EU\n")
    with pytest.raises(Unreadable, match="from line 1 has no column 2 but 1 columns"):
        sentences(path, "2")
    with pytest.raises(Unreadable, match="field 'entity' must be words, tags, or the number"):
        sentences(path, "entity")
