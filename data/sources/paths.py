"""Sources that are files at a path: which files a pattern matches, here or in a bucket."""

import glob
import os
import re
from abc import abstractmethod
from collections.abc import Callable

from data import system
from data.cache import is_remote, reachable, remote_path
from data.errors import UserError
from data.sources.source import Corpus, Piece, Source


class Paths(Source):
    """A path is taken as it is written if it is there, else as a pattern; it may be a URL."""

    example_where = "PATH"

    @abstractmethod
    def divide_file(self, file: str, size: int) -> list[Piece]:
        """A file of that many bytes in pieces; raises Unreadable and OSError."""

    def divide(self, corpus: Corpus) -> list[Piece]:
        pieces = []
        for file, size in zip(corpus.files, corpus.sizes, strict=True):
            with corpus.readable(file):
                pieces += self.divide_file(file, size)
        return pieces

    def absolute(self) -> str:
        where = self.where
        if os.path.lexists(path := system.expanded("data.sources", where)):
            return f"{self.kind}:{glob.escape(os.path.abspath(path))}"
        return f"{self.kind}:{where if is_remote(where) else _absolute_pattern(where)}"

    def files(self, cache_dir: str, report: Callable[[str], None]) -> list[str]:
        where = self.where
        path = os.path.abspath(system.expanded("data.sources", where))
        literal = os.path.lexists(path)
        if literal or not is_remote(where):
            matches = _local_files(_absolute_pattern(where))
        else:
            path = where
            with reachable(where):
                literal, matches = _remote_files(where)
        if not literal:
            return sorted(matches)
        if others := len(set(matches) - {path}):
            many = f"{others:,} other file{'s' * (others != 1)}"
            report(f"{self.spec}: read as the name of one file; as a pattern it would match {many}")
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
    matches = glob.iglob(pattern, recursive=True)
    return [file for file in matches if not os.path.isdir(file)]


def _remote_files(pattern: str) -> tuple[bool, list[str]]:
    """Whether there is a file of that very name, and what matches it as a pattern."""
    path = remote_path(pattern)
    if path.exists() and not path.is_dir():
        return True, [pattern]
    if not glob.has_magic(pattern):
        return False, []
    if "**" in pattern:
        raise UserError(
            f"data.sources={pattern!r} must have no '**', because a bucket may hold too many "
            "folders to look into them all; try '*' for each folder"
        )
    folder = re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    matches = remote_path(folder).glob(pattern[len(folder) + 1 :])
    return False, [str(file) for file in matches if not file.is_dir()]


def _absolute_pattern(where: str) -> str:
    """A pattern for `glob` that matches the same files from every directory: the folder it is taken
    from has no special characters in it."""
    head, slash, rest = where.partition("/")
    if (home := os.path.expanduser(head)) != head:
        return f"{glob.escape(home.rstrip('/'))}{slash}{rest}"
    if where.startswith("/"):
        return where
    folder = os.getcwd()
    while head in (".", "..") and slash:
        folder = os.path.dirname(folder) if head == ".." else folder
        head, slash, rest = rest.partition("/")
    return os.path.join(glob.escape(folder), f"{head}{slash}{rest}")
