"""CSV and TSV: what is read of them, and what is said of damaged files."""

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from data.sources.csv import Csv
from data.sources.source import Unreadable

PACK: dict[str, Callable[[bytes], bytes]] = {
    "a.csv": lambda content: content,
    "a.csv.gz": gzip.compress,
    "a.tsv.zst": zstandard.compress,
}
SOURCE = Csv("csv:*")


def read(path: Path, field: str = "text") -> list[tuple[str, int]]:
    pieces = SOURCE.divide_file(str(path), path.stat().st_size)
    return [(text, place) for piece in pieces for text, _, place in SOURCE.read(piece, field)]


@pytest.mark.parametrize("name", PACK)
@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))))
def test_what_the_standard_library_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("csv") / name
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if ".tsv" in name else ",")
    writer.writerows([["label", "text"], *(["x", text] for text in texts)])
    path.write_bytes(PACK[name](text.getvalue().encode()))
    assert [text for text, _ in read(path)] == texts


def test_places_are_lines_and_marks_and_blank_rows_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbftext,label\n"two\nlines",x\n\n' + b"y" * 300_000 + b",z")
    assert read(path) == [("two\nlines", 3), ("y" * 300_000, 5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"first row must name each field once, 'text' among them, but it is \[\]"),
        (b"label,body\nx,y\n", r"'text' among them, but it is \['label', 'body'\]"),
        (b"text,text\nx,y\n", "name each field once"),
        (b"text,label\nx\n", "the row that ends in line 2 must have 2 cells, but has 1"),
        (b'text\n"cut off', "line 2 is no CSV .*, perhaps cut off"),
        (b'text\n"a"b\n', "line 2 is no CSV"),
        (b"text\n\xff\n", r"byte 5 \(0xff\) is not UTF-8"),
    ],
)
def test_what_is_damaged_is_named_with_its_place(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=message):
        read(path)
