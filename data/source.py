"""A corpus: which files it is, a digest of their content, and its documents piece by piece."""

import glob
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from etils import epath

from data import formats, records
from data.cache import commit, digest_of, is_remote, local_cache, only_one
from data.formats import CHUNK, PIECE, Piece, Unreadable
from data.stdlib_files import stdlib_files

SYNTHETIC_DOCUMENT = 1000


class Document(NamedTuple):
    """A text and where it came from; place is a byte offset in the file, or a record's number."""

    text: str
    file: str
    place: int


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """One entry of `data.sources`, its files found and their content known by digest."""

    spec: str
    text_field: str
    files: tuple[str, ...]
    sizes: tuple[int, ...]
    digest: str
    cache_dir: str

    def pieces(self) -> list[Piece]:
        """The corpus in parts that can be read apart, in order; a record set is built if need be."""
        kind, _, where = self.spec.partition(":")
        if kind == "synthetic":
            starts = range(0, int(where), PIECE)
            return [
                Piece(file="synthetic", start=a, stop=min(a + PIECE, int(where)), size=PIECE)
                for a in starts
            ]
        if kind == "stdlib":
            folder = local_cache(self.cache_dir) / "tfds" / self.digest[:16]
            with only_one(folder.with_suffix(".lock"), lambda _: None):
                return records.divide_records(records.prepare_stdlib(folder))
        if kind == "tfds":
            return self._checked(records.divide_records, os.path.dirname(self.files[0]))
        divide = getattr(formats, f"divide_{kind}")
        files = zip(self.files, self.sizes)
        return [p for file, size in files for p in self._checked(divide, file, size)]

    def read(self, piece: Piece) -> Iterator[Document]:
        """Documents of a piece, in order; ValueError names the file and place of what is bad."""
        kind = self.spec.partition(":")[0]
        try:
            if kind == "synthetic":
                found = _synthetic(piece)
            elif kind in ("stdlib", "tfds"):
                field = "text" if kind == "stdlib" else self.text_field
                found = records.read_records(piece, field)
            elif kind == "text":
                found = formats.read_text(piece)
            elif kind == "jsonl":
                found = formats.read_jsonl(piece, self.text_field)
            else:
                found = formats.read_parquet(piece, self.text_field)
            for text, place in found:
                yield Document(text, piece.file, place)
        except (Unreadable, OSError) as error:
            raise self._bad(piece.file, error) from error

    def _checked(self, divide: Callable[..., list[Piece]], file: str, *size: int) -> list[Piece]:
        try:
            return divide(file, *size)
        except (Unreadable, OSError) as error:
            raise self._bad(file, error) from error

    def _bad(self, file: str, error: Exception) -> ValueError:
        return ValueError(
            f"data.sources={self.spec!r} must be readable to its end, because no text is left out "
            f"silently, but in {file} {error}; try repairing that file or moving it away"
        )


def open_corpus(
    spec: str, text_field: str, cache_dir: str, report: Callable[[str], None]
) -> Corpus:
    """Find the files of a source and their digest; content is hashed when size or time changed."""
    kind, _, where = spec.partition(":")
    if kind == "synthetic":
        digest = digest_of("synthetic", where)
        return Corpus(
            spec=spec,
            text_field=text_field,
            files=(),
            sizes=(),
            digest=digest,
            cache_dir=cache_dir,
        )
    files = _files(kind, where, cache_dir)
    if not files:
        raise ValueError(
            f"data.sources={spec!r} must match a file, because text comes from there and none is "
            f"found; try a path that `ls` shows"
        )
    try:
        stamps = [_stamp(file) for file in files]
        digest = _content_digest(spec, files, stamps, cache_dir, report)
    except OSError as error:
        raise ValueError(
            f"data.sources={spec!r} must be readable, because its text is needed, but "
            f"{error.filename or files[0]} is not ({error.strerror or error}); "
            "try checking its permissions"
        ) from error
    return Corpus(
        spec=spec,
        text_field=text_field,
        files=tuple(files),
        sizes=tuple(size for size, _ in stamps),
        digest=digest,
        cache_dir=cache_dir,
    )


def _files(kind: str, where: str, cache_dir: str) -> list[str]:
    if kind == "stdlib":
        return stdlib_files()
    if kind == "tfds":
        known = local_cache(cache_dir) / "tfds" / f"{digest_of(where)[:16]}.json"
        if known.exists():
            files = json.loads(known.read_text())
            if all(os.path.exists(file) for file in files):
                return files
        files = records.split_files(records.prepare_named(where))
        commit(known, json.dumps(files).encode())
        return files
    if not is_remote(where):
        found = glob.glob(os.path.expanduser(where), recursive=True)
        return sorted(os.path.abspath(file) for file in found if os.path.isfile(file))
    base, *pattern = where.split("*", 1)
    if not pattern:
        return [where] if epath.Path(where).exists() else []
    folder, _, name = base.rpartition("/")
    return sorted(str(path) for path in epath.Path(folder).glob(f"{name}*{pattern[0]}"))


def _stamp(file: str) -> tuple[int, int]:
    """Size and time of last change."""
    if is_remote(file):
        stat = epath.Path(file).stat()
        return stat.length, int(stat.mtime)
    local = os.stat(file)
    return local.st_size, local.st_mtime_ns


def _content_digest(
    spec: str,
    files: list[str],
    stamps: list[tuple[int, int]],
    cache_dir: str,
    report: Callable[[str], None],
) -> str:
    """Digest of the files' contents in order, remembered for as long as no stamp changes."""
    key = digest_of(spec, files, stamps)
    known = local_cache(cache_dir) / "digests" / key
    if known.exists():
        return known.read_text()
    total = sum(size for size, _ in stamps)
    report(f"{spec}: hashing {len(files):,} files, {total / 1e6:,.1f} MB")
    with ThreadPoolExecutor() as pool:
        digest = digest_of(*pool.map(_file_digest, files))
    commit(known, digest.encode())
    return digest


def _file_digest(file: str) -> str:
    hashed = hashlib.sha256()
    with epath.Path(file).open("rb") as stream:
        while chunk := stream.read(CHUNK):
            hashed.update(chunk)
    return hashed.hexdigest()


def _synthetic(piece: Piece) -> Iterator[tuple[str, int]]:
    """Documents of invented words; each depends on its place alone."""
    for place in range(piece.start, piece.stop, SYNTHETIC_DOCUMENT):
        size = min(SYNTHETIC_DOCUMENT, piece.stop - place)
        draw = random.Random(place)
        words = [WORDS[int(len(WORDS) * draw.random() ** 3)] for _ in range(size // 2 + 1)]
        yield " ".join(words)[:size], place


WORDS = tuple(
    first + second
    for first in ("ba", "de", "fi", "go", "ku", "la", "me", "ni")
    for second in ("", "ra", "se", "ti", "no", "vu", "xa", "zo")
)
