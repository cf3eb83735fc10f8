"""A corpus: which files it is, a digest of their content, and its documents piece by piece."""

import hashlib
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from etils import epath

from data import durable, system
from data.cache import digest_of, is_remote, kept_in, local_cache, reachable
from data.config import DataConfig
from data.errors import UserError
from data.sources.compressed import CHUNK
from data.sources.source import Document, Piece, Source, Unreadable


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """One entry of `data.sources`, its files found and their content known by digest."""

    source: Source
    field: str
    """Field of a record that holds the text; empty where there are no records."""
    files: tuple[str, ...]
    sizes: tuple[int, ...]
    digest: str
    cache_dir: str

    @property
    def spec(self) -> str:
        return self.source.spec

    def pieces(self) -> list[Piece]:
        """The corpus in parts that can be read apart, in order; a TFDS set is built if need be."""
        return self.source.divide(self)

    def read(self, piece: Piece) -> Iterator[Document]:
        """Documents of a piece, in order; ValueError names the file and place of what is bad."""
        with reachable(piece.file), self.readable(piece.file):
            yield from self.source.read(piece, self.field)

    @contextmanager
    def readable(self, file: str) -> Iterator[None]:
        """Around what reads the file: what cannot be read becomes a ValueError that names it."""
        try:
            yield
        except (Unreadable, OSError) as error:
            raise self._bad(file, error) from error

    def _bad(self, file: str, error: Exception) -> UserError:
        texts = error.texts if isinstance(error, Unreadable) else ()
        other = " or ".join(map(shlex.quote, texts[:3]))
        other = f"--data.text-field {other}, or " if texts else ""
        what = (
            f"{error}"
            if isinstance(error, Unreadable)
            else f"the system says: {system.said(error)}"
        )
        return UserError(
            f"data.sources={self.spec!r} must be readable to its end, because no text is left out "
            f"silently, but in {file} {what}; try {other}repairing that file or moving it away"
        )


def open_corpus(spec: str, config: DataConfig, report: Callable[[str], None]) -> Corpus:
    """Find the files of a source and their digest; content is hashed when size or time changed."""
    source = config.source_of(spec)
    with system.usable(f"data.sources={spec!r}", "its text is needed", always=True):
        files = source.files(config.cache_dir, report)
        identity = source.identity()
        if not files and not identity:
            raise UserError(
                f"data.sources={spec!r} must match a file, because text comes from there, and none "
                "is found; try a path that `ls` shows"
            )
        stamps = [_stamp(file) for file in files]
        digest = (
            _content_digest(spec, files, stamps, config.cache_dir, report)
            if files
            else digest_of(*identity)
        )
    return Corpus(
        source=source,
        field=config.text_field if source.has_fields else "",
        files=tuple(files),
        sizes=tuple(size for size, _ in stamps),
        digest=digest,
        cache_dir=config.cache_dir,
    )


def _stamp(file: str) -> tuple[int, int]:
    """Size and time of last change."""
    if is_remote(file):
        with reachable(file):
            remote = epath.Path(file).stat()
        return remote.length, int(remote.mtime)
    local = system.require_regular(file)
    return local.st_size, local.st_mtime_ns


def _content_digest(
    spec: str,
    files: list[str],
    stamps: list[tuple[int, int]],
    cache_dir: str,
    report: Callable[[str], None],
) -> str:
    """Digest of the files' contents in order, remembered for as long as no stamp changes."""
    known = local_cache(cache_dir) / "digests" / digest_of(spec, files, stamps)
    with kept_in(cache_dir):
        if known.exists():
            return known.read_text()
    total = sum(size for size, _ in stamps)
    many = f"{len(files):,} file{'s' * (len(files) != 1)}"
    report(f"{spec}: hashing {many}, {total / 1e6:,.1f} MB")
    with ThreadPoolExecutor() as pool:
        digest = digest_of(*pool.map(_file_digest, files))
    try:
        with kept_in(cache_dir):
            known.parent.mkdir(parents=True, exist_ok=True)
            durable.write(known, digest)
    except ValueError as error:
        # A cache that others filled may be for reading alone, and hold the tokens.
        report(f"{spec}: hashed again the next time: {error}")
    return digest


def _file_digest(file: str) -> str:
    hashed = hashlib.sha256()
    try:
        with reachable(file), epath.Path(file).open("rb") as stream:
            while chunk := stream.read(CHUNK):
                hashed.update(chunk)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), file) from error
    return hashed.hexdigest()
