"""Parquet: what is read of it, and what is said of damaged files."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.sources.parquet import Parquet
from data.sources.source import Unreadable

SOURCE = Parquet("parquet:*")
TEXTS = ["one", "zwei \u00e4\u00f6\u00fc", "three\nlines\n", "", "\u2028 four"]


def write_parquet(path: Path, texts: list[str], rows: int = 2) -> Path:
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), path, row_group_size=rows)
    return path


def read_parquet(path: Path, field: str = "text") -> list[tuple[str, int]]:
    pieces = SOURCE.divide_file(str(path), path.stat().st_size)
    return [(text, place) for piece in pieces for text, _, place in SOURCE.read(piece, field)]


def test_parquet_yields_rows_of_all_groups(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", TEXTS)
    assert len(SOURCE.divide_file(str(path), 0)) == 3
    assert read_parquet(path) == [(text, row) for row, text in enumerate(TEXTS)]


def test_bad_parquet(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", TEXTS * 100, rows=100)
    with pytest.raises(Unreadable, match="no column 'body' but id, text") as raised:
        read_parquet(path, "body")
    assert raised.value.texts == ["text"]
    with pytest.raises(Unreadable, match="field 'id' of row 0 is int, no text"):
        read_parquet(path, "id")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Unreadable, match="no whole Parquet file"):
        read_parquet(path)
    start = pq.read_metadata(io.BytesIO(content)).row_group(0).column(1).dictionary_page_offset
    path.write_bytes(content[:start] + b"\0" * 100 + content[start + 100 :])
    with pytest.raises(Unreadable, match="row group 0 is damaged"):
        read_parquet(path)


def test_every_kind_of_parquet_string_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for column in (pa.array(TEXTS, pa.large_string()), pa.array(TEXTS).dictionary_encode()):
        pq.write_table(pa.table({"text": column, "text.b": range(len(TEXTS))}), path)
        assert [text for text, _ in read_parquet(path)] == TEXTS


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["a", None]), "field 'text' of row 1 is NoneType, no text"),
        (pa.array([b"a"]), "field 'text' of row 0 is bytes, no text"),
        (pa.array([{"text": "a"}]), "field 'text' of row 0 is dict, no text"),
        (pa.array([1 << 60], pa.timestamp("ms")), "row 0 cannot be read"),
    ],
)
def test_parquet_columns_without_text(tmp_path: Path, column: pa.Array, message: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": column}), path)
    with pytest.raises(Unreadable, match=message):
        read_parquet(path)


def test_two_parquet_columns_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.array(TEXTS)
    pq.write_table(pa.table([texts, texts], names=["text", "text"]), path)
    with pytest.raises(Unreadable, match="it has several columns 'text'"):
        read_parquet(path)


def test_parquet_names_the_undecodable_row(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"bad \xff"], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": column}), sink)
    path = tmp_path / "a.parquet"
    path.write_bytes(sink.getvalue())
    with pytest.raises(Unreadable, match="row 1 is not UTF-8 at its byte 4"):
        read_parquet(path)


def test_what_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "b.parquet"
    path.write_bytes(b"plain words, nothing packed")
    with pytest.raises(Unreadable, match="no whole Parquet file"):
        read_parquet(path)
