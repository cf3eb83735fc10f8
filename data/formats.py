"""Files to texts: plain text, JSON lines (plain, .gz, .zst) and Parquet, whole or in pieces.

Each reader yields (text, place): a byte offset in the uncompressed file, or a row number.
What cannot be read raises Unreadable, with the place.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from etils import epath

CHUNK = 1 << 20
PIECE = 32 << 20


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
    """Lines that begin inside the piece."""
    compressed = piece.file.endswith((".gz", ".zst"))
    for line, place in _lines(piece.file, 0 if compressed else piece.start):
        if not compressed and place >= piece.stop:
            return
        if not line.strip():
            continue
        text = _decode(line, place)
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            raise Unreadable(
                f"the line at byte {place} is no JSON ({error.msg} at its column {error.colno}), "
                "perhaps cut off"
            ) from error
        yield _field(record, field, f"the line at byte {place}"), place


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
        if field not in (columns := file.schema_arrow).names:
            texts = [c.name for c in columns if str(c.type) in ("string", "large_string")]
            raise Unreadable(f"it has no column {field!r} but {', '.join(columns.names)}", texts)
        counts = [file.metadata.row_group(i).num_rows for i in range(piece.start)]
        row = sum(counts)
        try:
            for batch in file.iter_batches(row_groups=[piece.start], columns=[field]):
                for value in batch.column(0):
                    yield _string(_scalar(value, row), field, f"row {row}"), row
                    row += 1
        except (pa.ArrowException, OSError) as error:
            raise Unreadable(f"row group {piece.start} is damaged ({error})") from error


def _scalar(value: Any, row: int) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        raise Unreadable(f"row {row} is not UTF-8 at its byte {error.start}") from error


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
        raise Unreadable(
            f"byte {place + error.start} (0x{content[error.start]:02x}) is not UTF-8"
        ) from error


def _lines(file: str, start: int) -> Iterator[tuple[bytes, int]]:
    """Lines that begin at or after start, with their offsets."""
    place = max(start - 1, 0)
    skip = start > 0
    rest = b""
    for chunk in _chunks(file, place):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if not skip:
                yield line, place
            skip = False
            place += len(line) + 1
    if rest and not skip:
        yield rest, place


def _chunks(file: str, start: int = 0) -> Iterator[bytes]:
    with epath.Path(file).open("rb") as stream:
        if file.endswith(".zst"):
            yield from _unzstd(stream)
            return
        if file.endswith(".gz"):
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
    import zstandard

    frame = zstandard.ZstdDecompressor().decompressobj()
    done = 0
    begun = False
    while data := stream.read(CHUNK):
        while data:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            begun = True
            try:
                chunk = frame.decompress(data)
            except zstandard.ZstdError as error:
                raise Unreadable(f"its zstd stream breaks after byte {done} ({error})") from error
            done += len(chunk)
            data = frame.unused_data
            if chunk:
                yield chunk
    if begun and not frame.eof:
        raise Unreadable(f"its zstd stream breaks after byte {done} (it ends inside a frame)")
