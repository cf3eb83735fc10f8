"""JSON lines, plain and compressed: what is read of them, and what is said of damaged files."""

import gzip
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, SupportsIndex

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from data.sources import compressed, jsonl, lines
from data.sources.jsonl import Jsonl
from data.sources.source import Piece, Unreadable

TEXTS = ["one", "zwei \u00e4\u00f6\u00fc", "three\nlines\n", "", "\u2028 four"]
LINES = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
PACK: dict[str, Callable[[bytes], bytes]] = {
    "a.jsonl": lambda content: content,
    "a.jsonl.gz": gzip.compress,
    "a.jsonl.zst": zstandard.compress,
}
SOURCE = Jsonl("jsonl:*")


def read_jsonl(path: Path, field: str = "text") -> list[tuple[str, int]]:
    pieces = SOURCE.divide_file(str(path), path.stat().st_size)
    return [(text, place) for piece in pieces for text, _, place in SOURCE.read(piece, field)]


@pytest.mark.parametrize("name", PACK)
def test_jsonl_yields_texts_and_offsets(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PACK[name](LINES + b"\n" + b'{"text": "no newline"}'))
    actual = read_jsonl(path)
    assert [text for text, _ in actual] == [*TEXTS, "no newline"]
    assert all(LINES[place:].startswith(b'{"text"') for _, place in actual[:-1])


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
    actual = []
    for start, stop in pairwise(ends):
        piece = Piece(file=str(path), start=start, stop=stop, size=stop - start)
        actual += [document.text for document in SOURCE.read(piece, "text")]
    assert actual == TEXTS


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


class Counted(bytes):
    """Bytes that count how many of them are joined or searched."""

    work = 0

    def split(self, sep: bytes | None = None, maxsplit: SupportsIndex = -1) -> list[bytes]:  # pyright: ignore
        Counted.work += len(self)
        return super().split(sep, maxsplit)

    def __radd__(self, other: bytes) -> "Counted":
        Counted.work += len(other) + len(self)
        return Counted(bytes(other) + bytes(self))


@pytest.mark.parametrize("chunks", [4, 64, 1024])
def test_a_line_is_read_in_time_that_grows_as_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    monkeypatch.setattr(compressed, "CHUNK", 64)
    monkeypatch.setattr(Counted, "work", 0)
    read = compressed.chunks
    monkeypatch.setattr(lines, "chunks", lambda *where: map(Counted, read(*where)))
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "x" * (64 * chunks)}) + "\n" + '{"text": "next"}\n')
    assert [len(text) for text, _ in read_jsonl(path)] == [64 * chunks, 4]
    assert Counted.work <= path.stat().st_size + 64


def test_pieces_inside_a_long_line_read_no_further_than_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressed, "CHUNK", 64)
    monkeypatch.setattr(jsonl, "PIECE", 1024)
    taken = []
    read = compressed.chunks

    def counting(*where: Any) -> Iterator[bytes]:
        for chunk in read(*where):
            taken.append(len(chunk))
            yield chunk

    monkeypatch.setattr(lines, "chunks", counting)
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "x" * 50_000}) + "\n")
    assert [len(text) for text, _ in read_jsonl(path)] == [50_000]
    assert sum(taken) < 2 * path.stat().st_size + 64 * 50


@pytest.mark.parametrize("log", [27, 28, 31])
def test_zst_windows_of_any_length(tmp_path: Path, log: int) -> None:
    path = tmp_path / "a.jsonl.zst"
    settings = zstandard.ZstdCompressionParameters.from_level(1, window_log=27)
    packed = bytearray(zstandard.ZstdCompressor(compression_params=settings).compress(LINES))
    stream = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    packed = bytearray(stream.compress(LINES) + stream.flush())
    assert zstandard.get_frame_parameters(bytes(packed)).window_size == 1 << 27
    packed[5] = (log - 10) << 3  # the window's descriptor, RFC 8878 section 3.1.1.1.2
    skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    path.write_bytes(skipped + bytes(packed) + skipped + bytes(packed))
    assert [text for text, _ in read_jsonl(path)] == TEXTS * 2
    path.write_bytes(bytes(packed[:-4]))
    with pytest.raises(Unreadable, match=r"zstd stream breaks after byte \d+ \(it ends inside"):
        read_jsonl(path)


def test_a_small_zst_file_is_unpacked_by_and_by(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zstandard.compress(b"\0" * (1 << 29)))
    assert max(map(len, compressed.chunks(str(path)))) <= 1 << 28


def test_gzip_members_and_the_zeros_that_fill_a_tape(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINES, mtime=0) + gzip.compress(LINES) + bytes(512))
    assert [text for text, _ in read_jsonl(path)] == TEXTS * 2


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_no_packed_file_is_empty(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.jsonl{ending}"
    path.touch()
    with pytest.raises(Unreadable, match="stream"):
        read_jsonl(path)


@pytest.mark.parametrize("line", ["[" * 20_000 + "]" * 20_000, "7" * 5000, "-" + "7" * 5000, "NaN"])
def test_json_beyond_what_python_alone_can_read(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"meta": {line}, "text": "] \\" {{", "id": [{{"text": 1}}]}}\n')
    assert read_jsonl(path) == [('] " {', 0)]
    path.write_text(f'{{"meta": {line}, "text": "x"\n')
    with pytest.raises(Unreadable, match="the line at byte 0 is no JSON"):
        read_jsonl(path)
    path.write_text(f'{{"text": {line}}}')
    with pytest.raises(Unreadable, match=r"field 'text' of the line at byte 0 is (list|float), no"):
        read_jsonl(path)


@pytest.mark.parametrize("end", ["[}]", '["]', "[" * 9 + "]" * 8, "]"])
def test_deep_json_must_close_what_it_opens(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x", "meta": [' + "[" * 20_000 + "]" * 20_000 + end + "]}")
    with pytest.raises(Unreadable, match="the line at byte 0 is no JSON"):
        read_jsonl(path)


def test_a_text_that_stands_twice_is_not_half_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"meta": {"text": "a", "text": "b"}, "text": "\\"text\\""}')
    assert read_jsonl(path) == [('"text"', 0)]
    path.write_text('{"text": "a", "text": "b"}')
    with pytest.raises(Unreadable, match="at byte 0 has the field 'text' more than once"):
        read_jsonl(path)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINES)
    assert [text for text, _ in read_jsonl(path)] == TEXTS
    path.write_bytes(b'\xef\xbb\xbf{"text": "\xe4"}')
    with pytest.raises(Unreadable, match=r"byte 13 \(0xe4\) is not UTF-8"):
        read_jsonl(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gzip.compress(LINES, mtime=0), "compressed by gzip: its name must end in .gz"),
        (zstandard.compress(LINES), "compressed by zstd: its name must end in .zst"),
        (LINES.decode().encode("utf-16"), "UTF-16"),
    ],
)
def test_what_a_file_is_that_is_not_utf8(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=rf"is not UTF-8 \(the file looks {what}"):
        read_jsonl(path)


def test_files_that_are_not_what_their_name_says(tmp_path: Path) -> None:
    for name, message in {
        "b.jsonl.gz": "gzip stream breaks after byte 0",
        "b.jsonl.zst": "zstd stream breaks after byte 0",
    }.items():
        path = tmp_path / name
        path.write_bytes(b"plain words, nothing packed")
        with pytest.raises(Unreadable, match=message):
            read_jsonl(path)


def test_damaged_gzip_content(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(LINES * 50, mtime=0))
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
