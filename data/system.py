"""What the operating system says of a file, in words for the user: what lasts, and a remedy."""

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.errors import UserError

PLACE = "another place"
REMEDIES = {
    errno.ENOSPC: f"making room on its disk, or {PLACE}",
    errno.EDQUOT: f"making room within your quota, or {PLACE}",
    errno.EFBIG: f"raising the limit of a file's size (`ulimit -f`), or {PLACE}",
    errno.EROFS: f"{PLACE}, as that disk is mounted for reading alone",
    errno.EACCES: f"checking its permissions and its folders' (`namei -l`), or {PLACE}",
    errno.EPERM: f"checking its permissions and its folders' (`namei -l`), or {PLACE}",
    errno.ENOENT: "a path that `ls` shows",
    errno.ENOTDIR: "a path whose folders are folders",
    errno.EISDIR: "the path of a file",
    errno.EEXIST: "another path, or moving what is there away",
    errno.ENOTEMPTY: "another path, or moving what is there away",
    errno.ENAMETOOLONG: "a shorter path",
    errno.ELOOP: "the path of the file itself, as its links lead in a circle",
    errno.ENXIO: "the path of a regular file",
    errno.ENODEV: "the path of a regular file",
    errno.EMFILE: "raising the limit of open files (`ulimit -n`)",
}
"""What to try, for each thing the system says that it would say again; what it may not say the
next time, such as an I/O error, is not here."""


def lasts(error: BaseException) -> bool:
    """Whether the system refused a file, and would again until somebody changes something."""
    return isinstance(error, OSError) and error.errno in REMEDIES


def said(error: BaseException) -> str:
    """An exception's own words, in one line; the system's without a number and without the name of
    the file, which stands before them."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split()) or type(error).__name__


def remedy(error: BaseException) -> str:
    """What to try, as it follows "try"."""
    return REMEDIES.get(getattr(error, "errno", None) or 0, "another file")


def refusal(error: OSError) -> str:
    """The message for the user of an error that `lasts`, wherever it came from."""
    name = "a file or the output" if error.filename is None else os.fsdecode(error.filename)
    return (
        f"{name} must be usable by this command, because it is read or written here, but: "
        f"{said(error)}; try {remedy(error)}"
    )


@contextmanager
def usable(name: str, why: str, *, always: bool = False) -> Iterator[None]:
    """Around what reads or writes the files of the setting `name`: what lasts, or `always` whatever
    the system says, becomes a ValueError that says `why` they are needed."""
    try:
        yield
    except OSError as error:
        if not always and not lasts(error):
            raise
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        raise UserError(
            f"{name} must be usable, because {why}, but {where}{said(error)}; try {remedy(error)}"
        ) from error


def expanded(name: str, path: str) -> str:
    """The path as it is written if it is there, else with `~` as the home directory.

    ValueError, naming the setting, if no file can have that path, or the home is not known.
    """
    if "\0" in path:
        raise UserError(
            f"{name}={path!r} must be a path, because files are looked for there, but no path "
            "holds a zero byte; try it without"
        )
    if os.path.lexists(path):
        return path
    home = os.path.expanduser(path)
    if path.startswith("~") and home == path:
        raise UserError(
            f"{name}={path!r} must be a path, because files are looked for there, but no home "
            f"directory of {path.split('/')[0]!r} is known; try an absolute path, or setting HOME"
        )
    return home


def local_path(name: str, path: str | Path) -> Path:
    """`expanded`, as an absolute path."""
    return Path(expanded(name, os.fspath(path))).absolute()


def require_regular(path: str | Path) -> os.stat_result:
    """The state of a file with content of its own; OSError for whatever else has that path: a pipe
    would be waited for without an end."""
    state = os.stat(path)
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.ENXIO, "Not a regular file", os.fspath(path))
    return state


def read_text(path: Path) -> str:
    """The text of a regular file, what is not UTF-8 in it replaced. Raises OSError."""
    require_regular(path)
    return path.read_text(encoding="utf-8", errors="replace")


def read_json(path: Path) -> Any:
    """The JSON of a regular file. Raises OSError, and ValueError whatever is wrong with it."""
    require_regular(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise UserError("it is nested too deeply") from error
