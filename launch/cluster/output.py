"""What one process says: its last lines, a log as soon as there is a folder, and the terminal."""

import contextlib
import re
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

UNLOGGED = 1 << 20  # bytes kept until there is a folder for the log
TAIL = 1 << 16
DELAY = 0.5  # seconds a complaint waits: the death of a peer that explains it may be noticed next
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Output:
    """Bytes of one process, from any of its streams. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tail = bytearray()
        self._early = bytearray()
        self._log: IO[bytes] | None = None
        self._complained = False

    def feed(self, data: bytes) -> None:
        with self._lock:
            self._tail += data
            del self._tail[:-TAIL]
            if self._log is not None:
                try:
                    self._log.write(data)
                except OSError as error:
                    self._drop_log(error)
            elif len(self._early) < UNLOGGED:
                self._early += data

    def keep_in(self, path: Path) -> bool:
        """Write the log there: what was said until now, and all that follows.

        False if that cannot be: a disk that is full must not end what only speaks.
        """
        with self._lock:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._log = path.open("ab", buffering=0)
                self._log.write(self._early)
            except OSError as error:
                self._drop_log(error)
                return False
            self._early.clear()
            return True

    def last_lines(self, count: int) -> list[str]:
        """The last lines that hold something, as a terminal would show them."""
        with self._lock:
            return lines_of(self._tail)[-count:]

    def close(self) -> None:
        with self._lock:
            self._close_log()

    def _drop_log(self, error: OSError) -> None:
        self._close_log()
        if not self._complained:
            say(f"a log is not kept, because: {error}")
        self._complained = True

    def _close_log(self) -> None:
        if self._log is not None:
            with contextlib.suppress(OSError):
                self._log.close()
        self._log = None


class Complaints:
    """What process 0 writes to stderr, on its way to ours.

    A peer's death makes it complain at length. Delayed by `DELAY` seconds, that can be dropped once
    the death is known; its log keeps it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._mute = False
        self._dropped = bytearray()

    def write(self, data: bytes) -> None:
        with self._lock:
            self._waiting.append((time.monotonic(), data))

    def show(self, *, everything: bool = False) -> None:
        """Show what has waited long enough, or all of it, unless it was muted."""
        now = time.monotonic()
        with self._lock:
            while self._waiting and (everything or now - self._waiting[0][0] >= DELAY):
                data = self._waiting.popleft()[1]
                if self._mute:
                    self._dropped += data
                    del self._dropped[:-TAIL]
                else:
                    put(sys.stderr, data)

    def mute(self) -> None:
        """Show no more of it."""
        self._mute = True
        self.show(everything=True)

    def dropped(self) -> list[str]:
        """The last lines that were never shown."""
        with self._lock:
            return lines_of(self._dropped)


def lines_of(said: bytes | bytearray) -> list[str]:
    """The lines that hold something, as a terminal would show them."""
    text = said.decode(errors="replace")
    lines = (CONTROL.sub("", line).rstrip().rpartition("\r")[2] for line in text.split("\n"))
    return [line for line in lines if line.strip()]


def put(target: IO[str], data: bytes) -> None:
    """Write bytes to a text stream at once; a reader that has gone or a full disk stops nothing."""
    try:
        target.flush()
        target.buffer.write(data)  # type: ignore[attr-defined]
        target.flush()
    except (OSError, ValueError):
        return


def say(text: str) -> None:
    """A line of the launcher itself, below whatever a progress bar has left on a terminal."""
    clean = "\r\033[K\033[?25h" if sys.stdout.isatty() else ""
    put(sys.stdout, f"{clean}{text}\n".encode())
