"""Plain text, also compressed."""

import gzip
from pathlib import Path

import pytest
import zstandard

from data.sources.compressed import CHUNK
from data.sources.source import Unreadable
from data.sources.text import Text

SOURCE = Text("text:*")


def test_text_may_be_compressed(tmp_path: Path) -> None:
    for name, pack in {
        "a.txt": bytes,
        "a.txt.gz": gzip.compress,
        "a.zst": zstandard.compress,
    }.items():
        path = tmp_path / name
        path.write_bytes(pack("zwei \u00e4\u00f6\u00fc\r\n".encode()))
        (piece,) = SOURCE.divide_file(str(path), path.stat().st_size)
        assert list(SOURCE.read(piece, "")) == [("zwei \u00e4\u00f6\u00fc\r\n", str(path), 0)]


def test_text_names_the_undecodable_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (CHUNK + 5) + b"\xff")
    (piece,) = SOURCE.divide_file(str(path), path.stat().st_size)
    with pytest.raises(Unreadable, match=rf"byte {CHUNK + 5} \(0xff\) is not UTF-8"):
        list(SOURCE.read(piece, ""))
