"""The corpus that is on every machine: the sources of this Python's standard library, without its
tests, IDLE and what is installed. A file is a document."""

import os
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from data.cache import kept_in, local_cache, locked
from data.errors import UserError
from data.sources.array_record import divide_records, prepare, read_records
from data.sources.source import Corpus, Document, Piece, Source

LEFT_OUT = {
    *("test", "tests", "idlelib", "lib-dynload", "site-packages", "dist-packages", "_bundled"),
    "__pycache__",
}


class Stdlib(Source):
    """`stdlib`."""

    @property
    def example(self) -> str:
        return "stdlib"

    def check(self) -> None:
        if self.spec != self.example:
            raise UserError(
                f"data.sources={self.spec!r} must be just 'stdlib', because there is one such "
                "corpus; try 'stdlib'"
            )

    def files(self, cache_dir: str, report: Callable[[str], None]) -> list[str]:
        return stdlib_files()

    def divide(self, corpus: Corpus) -> list[Piece]:
        """Of records that are built in the cache."""
        folder = local_cache(corpus.cache_dir) / "tfds" / corpus.digest[:16]
        with kept_in(corpus.cache_dir), locked(folder.with_suffix(".lock"), lambda _: None):
            return divide_records(prepare_stdlib(folder))

    def read(self, piece: Piece, field: str) -> Iterator[Document]:
        names = stdlib_names()
        for record in read_records(piece, ("text",)):
            yield Document(record.values["text"], names[record.place], 0)


def stdlib_root() -> str:
    """The folder of this Python's standard library."""
    return sysconfig.get_paths()["stdlib"]


def stdlib_files() -> list[str]:
    """Paths of its sources and texts, sorted."""
    files = []
    for folder, below, names in os.walk(stdlib_root()):
        below[:] = [name for name in below if name not in LEFT_OUT]
        files += [os.path.join(folder, n) for n in names if n.endswith((".py", ".txt", ".rst"))]
    return sorted(files)


def stdlib_names() -> list[str]:
    """The same below the library's folder."""
    return [os.path.relpath(file, stdlib_root()) for file in stdlib_files()]


def prepare_stdlib(folder: Path) -> str:
    """Build the standard-library corpus below the folder; returns where its records lie."""
    from data.sources.stdlib_builder import StdlibCorpus

    files = dict(zip(stdlib_names(), stdlib_files(), strict=True))
    builder = StdlibCorpus(files, data_dir=folder, file_format="array_record")
    prepare(builder, "stdlib")
    return str(builder.data_dir)
