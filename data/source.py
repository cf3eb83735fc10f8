"""A corpus: which files it is, a digest of their content, and its documents piece by piece."""

import glob
import hashlib
import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from etils import epath

from data import formats, records, synthetic, system
from data.cache import (
    commit,
    digest_of,
    is_remote,
    kept_in,
    local_cache,
    only_one,
    reachable,
    remote_path,
)
from data.formats import CHUNK, Piece, Unreadable
from data.places import absolute_pattern
from data.stdlib_files import stdlib_files, stdlib_names

RECORD_KINDS = ("jsonl", "parquet", "tfds")


class Document(NamedTuple):
    """A text and where it came from; place is a byte offset in the file, or a record's number."""

    text: str
    file: str
    place: int


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """One entry of `data.sources`, its files found and their content known by digest."""

    spec: str
    field: str
    """Field of a record that holds the text; empty where there are no records."""
    files: tuple[str, ...]
    sizes: tuple[int, ...]
    digest: str
    cache_dir: str

    def pieces(self) -> list[Piece]:
        """The corpus in parts that can be read apart, in order; a TFDS set is built if need be."""
        kind, _, where = self.spec.partition(":")
        if kind == "synthetic":
            return synthetic.divide_synthetic(int(where))
        if kind == "stdlib":
            folder = local_cache(self.cache_dir) / "tfds" / self.digest[:16]
            with kept_in(self.cache_dir), only_one(folder.with_suffix(".lock"), lambda _: None):
                return records.divide_records(records.prepare_stdlib(folder))
        if kind == "tfds":
            return self._checked(records.divide_records, os.path.dirname(self.files[0]))
        divide = getattr(formats, f"divide_{kind}")
        files = zip(self.files, self.sizes, strict=True)
        return [piece for file in files for piece in self._checked(divide, *file)]

    def read(self, piece: Piece) -> Iterator[Document]:
        """Documents of a piece, in order; ValueError names the file and place of what is bad."""
        names = stdlib_names() if self.spec == "stdlib" else None
        with reachable(piece.file):
            try:
                for text, place in self._texts(piece):
                    file = names[place] if names else piece.file
                    yield Document(text, file, 0 if names else place)
            except (Unreadable, OSError) as error:
                raise self._bad(piece.file, error) from error

    def _texts(self, piece: Piece) -> Iterator[tuple[str, int]]:
        kind = self.spec.partition(":")[0]
        if kind == "synthetic":
            return synthetic.read_synthetic(piece)
        if kind == "text":
            return formats.read_text(piece)
        if kind == "jsonl":
            return formats.read_jsonl(piece, self.field)
        if kind == "parquet":
            return formats.read_parquet(piece, self.field)
        return records.read_records(piece, self.field or "text")

    def _checked(self, divide: Callable[..., list[Piece]], file: str, *size: int) -> list[Piece]:
        try:
            return divide(file, *size)
        except (Unreadable, OSError) as error:
            raise self._bad(file, error) from error

    def _bad(self, file: str, error: Exception) -> ValueError:
        texts = error.texts if isinstance(error, Unreadable) else ()
        other = " or ".join(map(shlex.quote, texts[:3]))
        other = f"--data.text-field {other}, or " if texts else ""
        what = (
            f"{error}"
            if isinstance(error, Unreadable)
            else f"the system says: {system.said(error)}"
        )
        return ValueError(
            f"data.sources={self.spec!r} must be readable to its end, because no text is left out "
            f"silently, but in {file} {what}; try {other}repairing that file or moving it away"
        )


def open_corpus(
    spec: str, text_field: str, cache_dir: str, report: Callable[[str], None]
) -> Corpus:
    """Find the files of a source and their digest; content is hashed when size or time changed."""
    kind, _, where = spec.partition(":")
    with system.usable(f"data.sources={spec!r}", "its text is needed", always=True):
        files = [] if kind == "synthetic" else _files(kind, where, spec, cache_dir, report)
        if not files and kind != "synthetic":
            raise ValueError(
                f"data.sources={spec!r} must match a file, because text comes from there, and none "
                "is found; try a path that `ls` shows"
            )
        stamps = [_stamp(file) for file in files]
        digest = _content_digest(spec, files, stamps, cache_dir, report)
    return Corpus(
        spec=spec,
        field=text_field if kind in RECORD_KINDS else "",
        files=tuple(files),
        sizes=tuple(size for size, _ in stamps),
        digest=digest,
        cache_dir=cache_dir,
    )


def _files(
    kind: str, where: str, spec: str, cache_dir: str, report: Callable[[str], None]
) -> list[str]:
    if kind == "stdlib":
        return stdlib_files()
    if kind == "tfds":
        return _record_files(where, cache_dir, report)
    path = os.path.abspath(system.expanded("data.sources", where))
    literal = os.path.lexists(path)
    if literal or not is_remote(where):
        found = _local_files(absolute_pattern(where))
    else:
        path = where
        with reachable(where):
            literal, found = _remote_files(where)
    if not literal:
        return sorted(found)
    if others := len(set(found) - {path}):
        many = f"{others:,} other file{'s' * (others != 1)}"
        report(f"{spec}: read as the name of one file; as a pattern it would match {many}")
    return [path]


def _local_files(pattern: str) -> list[str]:
    """What the pattern matches, without folders; OSError for a folder that cannot be looked into:
    files in it would be left out without a word."""
    folders = os.path.dirname(pattern)
    while glob.has_magic(pattern) and folders not in ("", "/"):
        for folder in glob.iglob(folders, recursive=True):
            if os.path.isdir(folder):
                os.scandir(folder).close()
        folders = os.path.dirname(folders) if glob.has_magic(folders) else ""
    found = glob.iglob(pattern, recursive=True)
    return [file for file in found if not os.path.isdir(file)]


def _remote_files(pattern: str) -> tuple[bool, list[str]]:
    """Whether there is a file of that very name, and what matches it as a pattern."""
    path = remote_path(pattern)
    if path.exists() and not path.is_dir():
        return True, [pattern]
    if not glob.has_magic(pattern):
        return False, []
    if "**" in pattern:
        raise ValueError(
            f"data.sources={pattern!r} must have no '**', because a bucket may hold too many "
            "folders to look into them all; try '*' for each folder"
        )
    folder = re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    found = remote_path(folder).glob(pattern[len(folder) + 1 :])
    return False, [str(file) for file in found if not file.is_dir()]


def _record_files(name: str, cache_dir: str, report: Callable[[str], None]) -> list[str]:
    """Files of a prepared TFDS data set, remembered so that TFDS is imported only once."""
    known = local_cache(cache_dir) / "tfds" / f"{digest_of(name)[:16]}.json"
    if known.exists():
        files = json.loads(known.read_text())
        if all(os.path.exists(file) for file in files):
            return files
    report(f"tfds:{name}: finding or preparing the data set")
    with only_one(known.with_suffix(".lock"), report):
        files = records.split_files(records.prepare_named(name))
        commit(known, json.dumps(files).encode())
    return files


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
    if not files:
        # One corpus, also where its size is written as 0100.
        return digest_of(f"synthetic:{int(spec.partition(':')[2])}", synthetic.VERSION)
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
            commit(known, digest.encode())
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
