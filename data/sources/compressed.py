"""The bytes of a file, local or remote, plain or compressed by gzip or zstd."""

import gzip
import zlib
from collections.abc import Iterator
from typing import Any

from data.sources.source import Unreadable

PACKED = (".gz", ".zst")
"""How the names of compressed files end."""
CHUNK = 1 << 20
PACKED_CHUNK = 1 << 12
"""Bytes of a zstd stream that are unpacked at once: they may stand for 30,000 times as many."""
WINDOW = 1 << 31
"""Bytes that a zstd frame may reach back at most; they are taken only as far as they are filled."""


def chunks(file: str, start: int = 0) -> Iterator[bytes]:
    """The content of a file from byte `start`; of a .gz or .zst file always from its beginning,
    unpacked. Raises Unreadable, with the byte where it breaks."""
    from etils import epath

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
    while data := stream.read(PACKED_CHUNK):
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
