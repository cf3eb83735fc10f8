"""The file of a tokenizer, wherever it lies."""

import os
from pathlib import Path

from etils import epath

from data import system
from data.cache import is_remote, reachable
from data.errors import UserError


def read(path: str) -> bytes:
    """The content of a tokenizer's file; ValueError if it cannot be read."""
    try:
        if is_remote(path) and not os.path.lexists(path):
            with reachable(path):
                return epath.Path(path).read_bytes()
        local = system.expanded("data.tokenizer", path)
        system.require_regular(local)
        return Path(local).read_bytes()
    except OSError as error:
        raise unreadable(path, "a file", error) from error


def unreadable(path: str, what: str, error: Exception) -> UserError:
    """The error of a file that is not `what` it must be."""
    return UserError(
        f"data.tokenizer={path!r} must be {what}, because it is read now, but that failed: "
        f"{type(error).__name__}: {system.said(error)}; try --data.tokenizer with the path where "
        "it lies, or `meshloom data tokenizer` to make one"
    )
