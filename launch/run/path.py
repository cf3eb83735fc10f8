"""Where a run can lie: the library that writes its checkpoints must take its path as written."""

import re
from pathlib import Path

from data import system
from data.errors import UserError

TAKEN_OTHERWISE = re.compile(r"[*?\\]|\[[^/]+?\]|(?:gs|s3):(?=/)")
"""Orbax looks for the parts of a checkpoint by a pattern of its whole path, TensorStore takes \\ as
/, and both take gs:/ as a bucket: arrays would be lost, or be those of the run next to it."""


def run_path(name: str, path: str | Path) -> Path:
    """`system.local_path` of a directory that a run will write to, by the setting `name`.

    ValueError if checkpoints could not be written below it, or could not be read again.
    """
    place = system.local_path(name, path)
    flag = f"--{name.replace('_', '-')}"
    if wrong := TAKEN_OTHERWISE.search(f"{place}/"):
        raise UserError(
            f"{name}={str(place)!r} must not have {wrong[0]!r} in it, because checkpoints lie "
            "there and the library that writes them takes *, ?, [...], \\ and gs:/ for more than "
            f"a name; try {flag} with another path, or renaming that directory"
        )
    try:
        str(place).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{name}={str(place)!r} must be UTF-8, because checkpoints lie there and the library "
            f"that writes them takes no other path; try {flag} with another path, renaming that "
            "directory, or a locale of UTF-8 (`export LC_ALL=C.UTF-8`)"
        ) from error
    return place
