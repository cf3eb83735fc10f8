"""Reads the heartbeat file of a process and says when it stands still."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

STILL = 10.0  # seconds without a heartbeat
BUSY = 6.0  # times longer for a process that computes all the while: it may hold Python's lock
SUSPECT = 0.3  # of that time, from which on its threads are looked at
SHARE = 0.1  # of one core, from which on a process counts as computing


class Pulse:
    """One process's heartbeat. All times are of `time.monotonic`."""

    def __init__(self, path: Path, pid: int, now: float) -> None:
        self.last: dict[str, Any] = {}
        """The newest heartbeat: process, pid, host, phase, phase_since, step, time. Empty
        before the first."""
        self._path = path
        self._pid = pid
        self._beat = now
        self._cpu = 0.0
        self._asked = now

    def look(self, now: float) -> None:
        """Read the file. A changed one is a beat; the clock of the process is not asked."""
        try:
            beat = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if beat != self.last:
            self.last, self._beat, self._cpu = beat, now, _cpu_seconds(self._pid)

    def forgive(self, seconds: float) -> None:
        """Leave out time in which we stood still ourselves."""
        self._beat += seconds

    def trouble(self, now: float, start_timeout: float) -> str | None:
        """Why the process counts as hung, in words; None if it does not."""
        since, self._asked = now - self._asked, now
        if now - self._beat > SUSPECT * STILL and _waits_for_disk(self._pid):
            self.forgive(since)
        silent = now - self._beat
        if not self.last:
            if silent > start_timeout:
                return f"gave no sign of life in {start_timeout:.0f} s from its start"
            return None
        busy = _cpu_seconds(self._pid) - self._cpu > SHARE * silent
        if silent > STILL * (BUSY if busy else 1):
            return f"stood still for {silent:.0f} s"
        return None


def _waits_for_disk(pid: int) -> bool:
    """Whether a thread waits for a disk: if it holds Python's lock, no other can beat meanwhile."""
    # The whole process may end while it is looked at.
    with contextlib.suppress(OSError):
        return any(_stat(f"{pid}/task/{t}")[:1] == ["D"] for t in os.listdir(f"/proc/{pid}/task"))
    return False


def _cpu_seconds(pid: int) -> float:
    """Processor time a process has used; 0 where there is no /proc."""
    return sum(map(int, _stat(str(pid))[11:13])) / os.sysconf("SC_CLK_TCK")


def _stat(task: str) -> list[str]:
    """What Linux knows of a process or thread, from its state on; empty if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{task}/stat").read_text().rpartition(")")[2].split()
    return []
