"""Bytes to text, and what a file is that is not UTF-8."""

from data.sources.source import Unreadable

BOM = "\ufeff".encode()
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


def decoded(content: bytes, place: int) -> str:
    """The text of bytes that stand at `place` of their file; Unreadable names the first bad one."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        other = [what for begin, what in OTHERS.items() if not place and content.startswith(begin)]
        raise Unreadable(
            f"byte {place + error.start} (0x{content[error.start]:02x}) is not UTF-8"
            + "".join(f" (the file looks {what})" for what in other)
        ) from error
