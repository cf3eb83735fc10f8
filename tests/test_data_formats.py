"""Readers of files: what they yield, and what they say of damaged files."""

import gzip
import io
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from data import formats
from data.formats import Piece, Unreadable

TEXTS = ["one", "zwei \u00e4\u00f6\u00fc", "three\nlines\n", "", "\u2028 four"]
LINES = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
PACK: dict[str, Callable[[bytes], bytes]] = {
    "a.jsonl": lambda content: content,
    "a.jsonl.gz": gzip.compress,
    "a.jsonl.zst": zstandard.compress,
}


def read_jsonl(path: Path, field: str = "text") -> list[tuple[str, int]]:
    pieces = formats.divide_jsonl(str(path), path.stat().st_size)
    return [found for piece in pieces for found in formats.read_jsonl(piece, field)]


def write_parquet(path: Path, texts: list[str], rows: int = 2) -> Path:
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), path, row_group_size=rows)
    return path


def read_parquet(path: Path, field: str = "text") -> list[tuple[str, int]]:
    pieces = formats.divide_parquet(str(path), path.stat().st_size)
    return [found for piece in pieces for found in formats.read_parquet(piece, field)]


@pytest.mark.parametrize("name", PACK)
def test_jsonl_yields_texts_and_offsets(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PACK[name](LINES + b"\n" + b'{"text": "no newline"}'))
    found = read_jsonl(path)
    assert [text for text, _ in found] == [*TEXTS, "no newline"]
    assert all(LINES[place:].startswith(b'{"text"') for _, place in found[:-1])


def test_zst_frames_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstandard.compress(LINES) + zstandard.compress(LINES))
    assert [text for text, _ in read_jsonl(path)] == TEXTS * 2


@settings(deadline=None)
@given(cuts=st.sets(st.integers(1, len(LINES) - 1)), tail=st.booleans())
def test_pieces_of_jsonl_cover_each_line_once(
    tmp_path_factory: pytest.TempPathFactory, cuts: set[int], tail: bool
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.jsonl"
    content = LINES if tail else LINES.rstrip(b"\n")
    path.write_bytes(content)
    ends = [0, *sorted(cuts & set(range(len(content)))), len(content)]
    found = []
    for start, stop in pairwise(ends):
        piece = Piece(file=str(path), start=start, stop=stop, size=stop - start)
        found += [text for text, _ in formats.read_jsonl(piece, "text")]
    assert found == TEXTS


@pytest.mark.parametrize("name", PACK)
def test_half_a_jsonl_file_is_an_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = PACK[name](LINES)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    message = {
        "a.jsonl": r"the line at byte \d+ is no JSON .* perhaps cut off",
        "a.jsonl.gz": r"its gzip stream breaks after byte \d+",
        "a.jsonl.zst": r"its zstd stream breaks after byte \d+ \(it ends inside a frame\)",
    }
    with pytest.raises(Unreadable, match=message[name]):
        read_jsonl(path)


def test_files_that_are_not_what_their_name_says(tmp_path: Path) -> None:
    for name, message in {
        "b.jsonl.gz": "gzip stream breaks after byte 0",
        "b.jsonl.zst": "zstd stream breaks after byte 0",
        "b.parquet": "no whole Parquet file",
    }.items():
        path = tmp_path / name
        path.write_bytes(b"plain words, nothing packed")
        with pytest.raises(Unreadable, match=message):
            read_parquet(path) if name.endswith("parquet") else read_jsonl(path)


def test_damaged_gzip_content(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(LINES * 50))
    content[len(content) // 2] ^= 255
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match="gzip stream breaks after byte"):
        read_jsonl(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"body": "x"}', "at byte 15 has no field 'text' but body"),
        (b"[1, 2]", "at byte 15 has no field 'text' but list"),
        (b'{"text": 3}', "field 'text' of the line at byte 15 is int, no text"),
        (b'{"text": "\xe4"}', r"byte 25 \(0xe4\) is not UTF-8"),
    ],
)
def test_bad_jsonl_lines(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "ok"}\n' + line + b"\n")
    with pytest.raises(Unreadable, match=message):
        read_jsonl(path)


def test_text_may_be_compressed(tmp_path: Path) -> None:
    for name, pack in {
        "a.txt": bytes,
        "a.txt.gz": gzip.compress,
        "a.zst": zstandard.compress,
    }.items():
        path = tmp_path / name
        path.write_bytes(pack("zwei \u00e4\u00f6\u00fc\r\n".encode()))
        (piece,) = formats.divide_text(str(path), path.stat().st_size)
        assert list(formats.read_text(piece)) == [("zwei \u00e4\u00f6\u00fc\r\n", 0)]


def test_text_names_the_undecodable_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (formats.CHUNK + 5) + b"\xff")
    (piece,) = formats.divide_text(str(path), path.stat().st_size)
    with pytest.raises(Unreadable, match=rf"byte {formats.CHUNK + 5} \(0xff\) is not UTF-8"):
        list(formats.read_text(piece))


def test_parquet_yields_rows_of_all_groups(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", TEXTS)
    assert len(formats.divide_parquet(str(path), 0)) == 3
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


def test_parquet_names_the_undecodable_row(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"bad \xff"], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": column}), sink)
    path = tmp_path / "a.parquet"
    path.write_bytes(sink.getvalue())
    with pytest.raises(Unreadable, match="row 1 is not UTF-8 at its byte 4"):
        read_parquet(path)
