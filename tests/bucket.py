"""An object store in memory that answers to s3://, for tests of remote paths."""

from typing import ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class Bucket(MemoryFileSystem):
    """fsspec's file system in memory under another name, with files of its own."""

    protocol = ("s3",)
    store: ClassVar[dict] = {}  # pyright: ignore[reportIncompatibleVariableOverride]
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("s3://"))


def bucket_in_memory() -> fsspec.AbstractFileSystem:
    """A fresh, empty store; every s3:// path leads there from now on."""
    fsspec.register_implementation("s3", Bucket, clobber=True)
    Bucket.store.clear()
    return fsspec.filesystem("s3")
