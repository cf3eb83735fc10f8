"""What a command that is silent for long is doing, on stderr, so that its result on stdout stays
pure."""

import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import TextIO

from launch.process.exits import say

OFTEN, SELDOM = 1.0, 15.0
"""Seconds between signs of life on a terminal, whose line changes, and elsewhere, by a new line."""
CLEAR = "\r\x1b[K"
WIDTH = 80


class Progress:
    """Called with what is done next, it says so, and how long it takes until the next call.

    On a terminal one line counts the seconds and stays when it is done; elsewhere a line comes
    first, and another every SELDOM seconds.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        every: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._every = every if every is not None else OFTEN if self._live else SELDOM
        self._clock = clock
        self._what: str | None = None
        self._began = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._finish()

    def __call__(self, what: str) -> None:
        """End what was being done and begin the next."""
        with self._lock:
            self._finish()
            self._what, self._began = what, self._clock()
            if self._live:
                self._draw()
            else:
                say(_folded(what), self._stream)

    def _tick(self) -> None:
        while not self._ended.wait(self._every):
            with self._lock:
                if self._what is None:
                    continue
                if self._live:
                    self._draw()
                else:
                    say(_folded(f"{self._what}: {self._seconds()} so far"), self._stream)

    def _draw(self) -> None:
        """The line that changes, cut to the terminal; what others write goes over it."""
        seconds = f" {self._seconds()}"
        room = shutil.get_terminal_size((WIDTH, 24)).columns - 1 - len(seconds)
        what = self._what or ""
        cut = what if len(what) <= room else f"{what[: room - 3]}..."
        say(f"{CLEAR}{cut}{seconds}\r", self._stream, end="")

    def _finish(self) -> None:
        if self._live and self._what is not None:
            say(f"{CLEAR}{_folded(f'{self._what} {self._seconds()}')}", self._stream)
        self._what = None

    def _seconds(self) -> str:
        return f"{self._clock() - self._began:.0f} s"


def _folded(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False)
