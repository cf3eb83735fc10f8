"""Who works on which cell, by files of a directory that workers of several machines may share.

A worker keeps `workers/NAME.json` fresh as long as it lives. A claim is `CELL/claims/N.json`, which
only one worker can create; the highest N counts until `N.released` lies next to it or its worker
is silent. Nothing is ever deleted or renamed, so that no two can take the same claim.
"""

import contextlib
import json
import os
import secrets
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from data import durable, system
from launch.process.exits import start_thread

EVERY = 2.0
SILENT = 30.0
"""Seconds without a beat, by the clock of the directory's file system, after which a worker counts
as dead; on the machine where it ran its end is seen at once."""


class Worker:
    """This process as one of the workers on a study."""

    def __init__(self, study: Path) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._folder = study / "workers"
        self._beat = self._folder / f"{self.name}.json"
        about = {"host": socket.gethostname(), "pid": os.getpid(), "boot": _boot()}
        durable.write(self._beat, json.dumps(about) + "\n")
        self._closed = threading.Event()
        start_thread(self._keep_fresh, "worker")

    def close(self) -> None:
        """Beat no more."""
        self._closed.set()

    @property
    def now(self) -> float:
        """Unix time by the clock of the directory's file system."""
        os.utime(self._beat)
        return self._beat.stat().st_mtime

    def claim(self, cell: Path) -> "Claim | None":
        """The claim of a cell for this worker, or None if it is that of another that lives."""
        folder = cell / "claims"
        folder.mkdir(exist_ok=True)
        # Before its holder is looked for: a claim of meanwhile has the number that is tried then.
        last = _last(folder)
        if holder(cell, self._folder.parent, self.now) is not None:
            return None
        path = folder / f"{last + 1}.json"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(json.dumps({"worker": self.name}) + "\n")
        except FileExistsError:
            return None
        return Claim(path)

    def _keep_fresh(self) -> None:
        while not self._closed.wait(EVERY):
            with contextlib.suppress(OSError):
                os.utime(self._beat)


class Claim:
    """A cell that is this worker's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def number(self) -> int:
        """Higher than that of all claims of this cell before it."""
        return int(self._path.stem)

    @property
    def is_valid(self) -> bool:
        """Whether no other worker took the cell, which it may when this one was silent."""
        return _last(self._path.parent) == self.number

    def release(self) -> None:
        """Leave the cell to others."""
        self._path.with_suffix(".released").touch()


def holder(cell: Path, study: Path, now: float) -> str | None:
    """The living worker whose claim of a cell counts."""
    folder = cell / "claims"
    last = _last(folder)
    if not last or (folder / f"{last}.released").exists():
        return None
    path = folder / f"{last}.json"
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["worker"]
    except ValueError:
        # It is being written, or its writer died in that instant and falls silent.
        return "a worker" if now - path.stat().st_mtime < SILENT else None
    return name if _lives(study / "workers" / f"{name}.json", now) else None


def clock(folder: Path) -> float:
    """Unix time by the clock of a directory's file system; by this machine's, if nothing may be
    written there."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def _lives(beat: Path, now: float) -> bool:
    try:
        about: dict[str, Any] = system.read_json(beat)
        silent = now - beat.stat().st_mtime
    except (OSError, ValueError):
        return False
    if about["host"] == socket.gethostname() and about["boot"] == _boot():
        try:
            os.kill(about["pid"], 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    return silent < SILENT


def _last(folder: Path) -> int:
    """The highest claim's number, 0 without any."""
    numbers = (int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit())
    return max(numbers, default=0)


def _boot() -> str:
    """What distinguishes this start of this machine, and this container's numbers of processes;
    empty where the system has none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
