"""Files to texts: plain text, JSON lines (plain, .gz, .zst) and Parquet, whole or in pieces.

Each reader yields (text, place): a byte offset in the uncompressed file, or a row number.
What cannot be read raises Unreadable, with the place.
"""

import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from etils import epath

CHUNK = 1 << 20
PIECE = 32 << 20
PACKED = 1 << 12
"""Bytes of a zstd stream that are unpacked at once: they may stand for 30,000 times as many."""
WINDOW = 1 << 31
"""Bytes that a zstd frame may reach back at most; they are taken only as far as they are filled."""
OTHERS = {
    b"\x1f\x8b": "compressed by gzip: its name must end in .gz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: its name must end in .zst",
    b"\xfd7zXZ": "compressed by xz, which is not read",
    b"BZh": "compressed by bzip2, which is not read",
    b"PK\x03\x04": "a zip archive, which is not read",
    b"PAR1": "Parquet: its source must begin with parquet:",
    b"\xff\xfe": "UTF-16, which is not read",
    b"\xfe\xff": "UTF-16, which is not read",
}
"""What a file is that is not UTF-8 and begins so."""
BOM = "\ufeff".encode()
WORD = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]|[^"\[\]{}]+|"', re.DOTALL)
"""A string, a bracket, or what lies between them."""


class Unreadable(Exception):
    """A file whose content is not what it should be; `texts` are the fields that hold texts, where
    the one that was asked for is missing."""

    def __init__(self, message: str, texts: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.texts = texts


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a corpus that is read alone; what start and stop count depends on the kind."""

    file: str
    start: int
    stop: int
    size: int
    """Bytes, about."""


def divide_text(file: str, size: int) -> list[Piece]:
    """One piece: a text file is one document."""
    return [Piece(file=file, start=0, stop=size, size=size)]


def read_text(piece: Piece) -> Iterator[tuple[str, int]]:
    content = b"".join(_chunks(piece.file))
    yield _decode(content, 0), 0


def divide_jsonl(file: str, size: int) -> list[Piece]:
    """Byte ranges of a plain file; a compressed file is one piece."""
    if file.endswith((".gz", ".zst")):
        return [Piece(file=file, start=0, stop=size, size=size)]
    ranges = [(start, min(start + PIECE, size)) for start in range(0, size, PIECE)]
    return [Piece(file=file, start=a, stop=b, size=b - a) for a, b in ranges]


def read_jsonl(piece: Piece, field: str) -> Iterator[tuple[str, int]]:
    """Lines that begin inside the piece; a byte order mark before the first is no part of it."""
    whole = piece.file.endswith((".gz", ".zst"))
    bounds = (0, sys.maxsize) if whole else (piece.start, piece.stop)
    for line, place in _lines(piece.file, *bounds):
        mark = len(BOM) if place == 0 and line.startswith(BOM) else 0
        if line[mark:].strip():
            where = f"the line at byte {place}"
            record = _record(_decode(line[mark:], place + mark), field, where)
            yield _field(record, field, where), place


def _record(text: str, field: str, where: str) -> Any:
    """The JSON value of a line, whose own fields are whole."""
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal outermost
        outermost = pairs
        return dict(pairs)

    # Only where the name may stand twice, or be spelt by escapes, is it worth the time.
    hook = keep if text.count(f'"{field}"') > 1 or "\\u" in text else None
    try:
        try:
            record = json.loads(text, object_pairs_hook=hook)
        except RecursionError:
            record = json.loads(_shallow(text), object_pairs_hook=hook, parse_int=float)
        except ValueError as error:
            if isinstance(error, json.JSONDecodeError):
                raise
            # Python makes no int of more than 4,300 digits.
            record = json.loads(text, object_pairs_hook=hook, parse_int=float)
    except json.JSONDecodeError as error:
        raise Unreadable(
            f"{where} is no JSON ({error.msg} at its column {error.colno}), perhaps cut off"
        ) from error
    if isinstance(record, dict) and [name for name, _ in outermost].count(field) > 1:
        raise Unreadable(f"{where} has the field {field!r} more than once")
    return record


def _shallow(text: str) -> str:
    """JSON with nothing in the lists and objects that its fields hold: they may be nested deeper
    than Python's parser goes."""
    opened: list[str] = []
    kept: list[str] = []
    for match in WORD.finditer(text):
        word = match[0]
        if word == '"':
            raise json.JSONDecodeError("Unterminated string", text, match.start())
        if word in ("]", "}") and (not opened or opened.pop() + word not in ("[]", "{}")):
            raise json.JSONDecodeError("Bracket that closes nothing", text, match.start())
        if len(opened) < 2:
            kept.append(word)
        if word in ("[", "{"):
            opened.append(word)
    if opened:
        raise json.JSONDecodeError("Bracket that is not closed", text, len(text))
    return "".join(kept)


def divide_parquet(file: str, size: int) -> list[Piece]:
    """Row groups."""
    with epath.Path(file).open("rb") as stream:
        metadata = _parquet(stream).metadata
        groups = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    return [Piece(file=file, start=i, stop=i + 1, size=n) for i, n in enumerate(groups)]


def read_parquet(piece: Piece, field: str) -> Iterator[tuple[str, int]]:
    import pyarrow as pa

    with epath.Path(piece.file).open("rb") as stream:
        file = _parquet(stream)
        names = file.schema_arrow.names
        if names.count(field) != 1:
            texts = [c.name for c in file.schema_arrow if str(c.type) in ("string", "large_string")]
            has = "several columns" if field in names else "no column"
            raise Unreadable(f"it has {has} {field!r} but {', '.join(names)}", texts)
        counts = [file.metadata.row_group(i).num_rows for i in range(piece.stop)]
        row = sum(counts[:-1])
        try:
            for batch in file.iter_batches(row_groups=[piece.start], columns=[field]):
                for value in batch.column(field):
                    yield _string(_scalar(value, row), field, f"row {row}"), row
                    row += 1
        except (pa.ArrowException, OSError) as error:
            raise Unreadable(f"row group {piece.start} is damaged ({error})") from error
        if row != sum(counts):
            raise Unreadable(f"row group {piece.start} is damaged (it ends before row {row})")


def _scalar(value: Any, row: int) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        raise Unreadable(f"row {row} is not UTF-8 at its byte {error.start}") from error
    except (ValueError, OverflowError) as error:
        raise Unreadable(f"row {row} cannot be read ({error})") from error


def _parquet(stream: Any) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(stream, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise Unreadable(f"it is no whole Parquet file ({error})") from error


def _field(record: Any, field: str, where: str) -> str:
    if not isinstance(record, dict) or field not in record:
        has = ", ".join(record) if isinstance(record, dict) else type(record).__name__
        raise Unreadable(f"{where} has no field {field!r} but {has}", fields_of(record, str))
    return _string(record[field], field, where)


def fields_of(record: Any, kind: type) -> list[str]:
    """Names of a record's fields of that type, the longest value first."""
    fields = record if isinstance(record, dict) else {}
    found = [name for name, value in fields.items() if isinstance(value, kind)]
    return sorted(found, key=lambda name: -len(fields[name]))


def _string(value: Any, field: str, where: str) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"field {field!r} of {where} is {type(value).__name__}, no text")
    return value


def _decode(content: bytes, place: int) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        other = [what for begin, what in OTHERS.items() if not place and content.startswith(begin)]
        raise Unreadable(
            f"byte {place + error.start} (0x{content[error.start]:02x}) is not UTF-8"
            + "".join(f" (the file looks {what})" for what in other)
        ) from error


def _lines(file: str, start: int, stop: int) -> Iterator[tuple[bytes, int]]:
    """Lines that begin from start to before stop, with their offsets; each byte is copied as often
    for a long line as for a short one, and of a line that began before start none is kept."""
    begin = place = max(start - 1, 0)
    parts: list[bytes] | None = None if start else []
    for chunk in _chunks(file, place):
        first, *more = chunk.split(b"\n")
        if parts is not None:
            parts.append(first)
        if more:
            if parts is not None:
                yield b"".join(parts), begin
            begin = place + len(first) + 1
            for line in more[:-1]:
                if begin >= stop:
                    return
                yield line, begin
                begin += len(line) + 1
            parts = [more[-1]]
        place += len(chunk)
        if (begin if parts is not None else place) >= stop:
            return
    if parts and any(parts):
        yield b"".join(parts), begin


def _chunks(file: str, start: int = 0) -> Iterator[bytes]:
    with epath.Path(file).open("rb") as stream:
        if file.endswith(".zst"):
            yield from _unzstd(stream)
            return
        packed = file.endswith(".gz")
        if packed and not stream.read(1):
            raise Unreadable("it is empty, no gzip stream")
        if packed:
            stream.seek(0)
            stream = gzip.GzipFile(fileobj=stream)
        elif start:
            stream.seek(start)
        done = 0
        try:
            while chunk := stream.read(CHUNK):
                done += len(chunk)
                yield chunk
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Unreadable(f"its gzip stream breaks after byte {done} ({error})") from error


def _unzstd(stream: Any) -> Iterator[bytes]:
    """The content of all frames in turn; what is kept does not depend on their length."""
    import zstandard

    def begin() -> Any:
        return zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()

    frame = begin()
    done = 0
    while data := stream.read(PACKED):
        while data:
            if frame.eof:
                frame = begin()
            try:
                chunk = frame.decompress(data)
            except zstandard.ZstdError as error:
                raise Unreadable(f"its zstd stream breaks after byte {done} ({error})") from error
            done += len(chunk)
            data = frame.unused_data
            if chunk:
                yield chunk
    if not frame.eof:
        raise Unreadable(f"its zstd stream breaks after byte {done} (it ends inside a frame)")
