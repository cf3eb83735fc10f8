"""Files and renames that survive a power cut: a file is on the disk whole, or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".tmp"
"""What the names of unfinished files end in; a process that is killed leaves them behind."""


@contextlib.contextmanager
def replacing(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """The name of a file to write, which takes the place of `path` when the block has ended.

    It lies next to `path`, and no other process uses its name. An exception leaves `path` as it
    was. Without `flush` a reader still sees a whole file, but a power cut may take it.
    """
    temporary = path.with_name(f"{path.name}.{os.urandom(4).hex()}{TEMPORARY}")
    try:
        yield temporary
        if flush:
            sync(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if flush:
        sync(path.parent)


def write(path: Path, content: bytes | str, *, flush: bool = True) -> None:
    """Write a file, text as UTF-8, by `replacing`."""
    with replacing(path, flush=flush) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
