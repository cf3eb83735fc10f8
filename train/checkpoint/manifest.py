"""The manifest of one checkpoint: size and SHA-256 of every file, written when all else is on disk.

A checkpoint without one does not exist. Imports no jax, so that a checkpoint is verified in
milliseconds.
"""

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from data import durable
from data.errors import UserError

MANIFEST = "MANIFEST.json"
FORMAT = 1
SHOWN_FAULTS = 3
THREADS = 16  # files read at a time; more do not make a disk faster

Result = TypeVar("Result")


Form = tuple[str, tuple[int, ...]]
"""Type and shape of an array."""


class Entry(NamedTuple):
    """What a file must be: `size` in bytes, `sha256` in hexadecimal."""

    size: int
    sha256: str


class Fault(NamedTuple):
    """One file of a checkpoint, by its path in it, and what is wrong with it."""

    file: str
    what: str


class Manifest(NamedTuple):
    """What a checkpoint consists of: its files, and the arrays of its state, by their paths."""

    step: int
    files: dict[str, Entry]
    arrays: dict[str, Form]

    @property
    def size(self) -> int:
        """Bytes of all files but the manifest itself."""
        return sum(entry.size for entry in self.files.values())


def file_names(directory: Path) -> list[str]:
    """Every file below `directory` but the manifest, by its path in it, with `/` between names."""
    names = [
        Path(folder, name).relative_to(directory).as_posix()
        for folder, _, files in os.walk(directory)
        for name in files
    ]
    return sorted(name for name in names if name != MANIFEST)


def flushed(directory: Path, names: Iterable[str]) -> dict[str, Entry]:
    """Flush the files to the disk; return what the manifest says of them."""

    def entry(name: str) -> Entry:
        durable.sync(directory / name)
        return Entry((directory / name).stat().st_size, _digest(directory / name))

    names = list(names)
    return dict(zip(names, _in_parallel(entry, names), strict=True))


def write(directory: Path, manifest: Manifest, key: bytes | None = None) -> None:
    """Write the manifest of a checkpoint whose files are `flushed`: it, and all folders, are on
    the disk afterwards. With a `key` it is signed, by HMAC-SHA256. ValueError if the arrays could
    not be read again."""
    if faults := _unmerged(manifest.files):
        raise UserError(fault_list(faults))
    for folder, _, _ in os.walk(directory):
        durable.sync(Path(folder))
    body = {
        "format": FORMAT,
        "step": manifest.step,
        "bytes": manifest.size,
        "arrays": {name: shown(form) for name, form in manifest.arrays.items()},
        "files": {name: entry._asdict() for name, entry in sorted(manifest.files.items())},
    }
    durable.write(directory / MANIFEST, _text(body | _seals(body, key)))


def read(directory: Path, key: bytes | None = None) -> Manifest:
    """The manifest of a checkpoint; ValueError that says what is wrong with it.

    It must be to the byte what `write` wrote, name the step its folder is called after, and be
    signed with `key` if one is given.
    """
    path = directory / MANIFEST
    if path.exists() and not path.is_file():
        raise UserError("no plain file")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError("missing, so the checkpoint was never finished") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"unreadable: {_reason(error)}") from error
    try:
        values = json.loads(text)
        body = {name: value for name, value in values.items() if name not in ("sha256", "hmac")}
        written = values["format"]
        manifest = _parsed(body) if written == FORMAT else None
        damaged = values["sha256"] != _seals(body, None)["sha256"] or text != _text(values)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError("damaged: it cannot be parsed") from error
    if damaged:
        raise UserError("damaged: it is not as it was written")
    if manifest is None:
        raise UserError(f"of format {written}, and this version reads format {FORMAT}")
    if key is not None:
        if "hmac" not in values:
            raise UserError("not signed, but a key is given")
        if not hmac.compare_digest(str(values["hmac"]), _seals(body, key)["hmac"]):
            raise UserError("signed with another key")
    if directory.name.isdecimal() and int(directory.name) != manifest.step:
        raise UserError(f"of step {manifest.step}, not {directory.name}")
    return manifest


def check(
    directory: Path,
    *,
    sizes_only: bool = False,
    key: bytes | None = None,
    share: tuple[int, int] = (0, 1),
) -> list[Fault]:
    """What is wrong with a checkpoint, file by file; empty if it is as it was written.

    A file that the manifest does not name is a fault, as is one that is no plain file. Of the
    files, in `share=(i, n)` only each n-th from the i-th is looked at: n processes share the work.
    """
    try:
        expected = read(directory, key).files
    except ValueError as error:
        return [Fault(MANIFEST, str(error))]
    names = sorted({*expected, *file_names(directory)}, key=lambda n: _order(n, expected))
    index, count = share

    def fault(name: str) -> str:
        return _fault(directory / name, expected.get(name), sizes_only=sizes_only)

    mine = names[index::count]
    checked = zip(mine, _in_parallel(fault, mine), strict=True)
    faults = {Fault(name, what) for name, what in checked if what}
    return sorted(faults.union(_unmerged(expected)))


def fault_list(faults: Sequence[Fault]) -> str:
    """The first few faults in one line."""
    more = len(faults) - SHOWN_FAULTS
    shown = ", ".join(f"{fault.file}: {fault.what}" for fault in faults[:SHOWN_FAULTS])
    return shown + (f", and {more} more" if more > 0 else "")


def shown(form: Form) -> str:
    """As in `float32[8,4]`."""
    dtype, shape = form
    return f"{dtype}[{','.join(map(str, shape))}]"


def _unmerged(names: Iterable[str]) -> list[Fault]:
    """The files missing by which arrays are looked up: each process writes a folder of its own, and
    what lies in these is merged into one index next to them at the end of a save."""
    names = set(names)
    parts = (re.match(r"(.*/)?ocdbt\.process_\d+/", name) for name in names)
    indices = {f"{part[1] or ''}manifest.ocdbt" for part in parts if part}
    return [Fault(index, "missing, so no array can be read") for index in sorted(indices - names)]


def _fault(path: Path, expected: Entry | None, *, sizes_only: bool) -> str:
    if expected is None:
        return "not in the manifest"
    try:
        if path.is_symlink() or not path.is_file():
            return "no plain file" if path.is_symlink() or path.exists() else "missing"
        size = path.stat().st_size
        if size != expected.size:
            return f"{size} bytes in place of {expected.size}"
        if not sizes_only and _digest(path) != expected.sha256:
            return "checksum differs"
    except OSError as error:
        return f"unreadable: {_reason(error)}"
    return ""


def _digest(path: Path) -> str:
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_parallel(work: Callable[[str], Result], names: Sequence[str]) -> list[Result]:
    """hashlib lets other threads run while it works."""
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, names))


def _order(name: str, expected: Mapping[str, Entry]) -> tuple[int, str]:
    """Big files first, so that no thread or process begins one when the others are done."""
    return (-expected[name].size if name in expected else 0, name)


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1) + "\n"


def _seals(body: Mapping[str, Any], key: bytes | None) -> dict[str, str]:
    """What proves the manifest itself: its checksum, and its signature if there is a key."""
    text = _text(body).encode()
    seals = {"sha256": hashlib.sha256(text).hexdigest()}
    if key is not None:
        seals["hmac"] = hmac.new(key, text, hashlib.sha256).hexdigest()
    return seals


def _parsed(body: Mapping[str, Any]) -> Manifest:
    files = {name: Entry(**entry) for name, entry in body["files"].items()}
    arrays = {name: _form(text) for name, text in body["arrays"].items()}
    return Manifest(int(body["step"]), files, arrays)


def _form(text: str) -> Form:
    dtype, _, shape = text.removesuffix("]").partition("[")
    return dtype, tuple(int(size) for size in shape.split(",") if size)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
