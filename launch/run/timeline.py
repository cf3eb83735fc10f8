"""Where the wall time of a run went, over all its starts: timeline.jsonl in the run directory.

One object a phase. That of the current phase is rewritten in its place twice a second, so that a
killed process leaves its last sign of life.
"""

import contextlib
import json
import math
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

from data import system
from launch.process.exits import start_thread, summary
from train.report.phases import Phase, Phases

EVERY = 0.5  # seconds


class Span(NamedTuple):
    """A line of the file."""

    attempt: int
    """Number of the start, from 1."""
    phase: str
    begin: float
    """Unix time."""
    end: float
    first_step: int | None
    """The first step under way in it."""
    last_step: int | None
    """The last step finished when it ended."""
    data_wait: float
    """Seconds of it in which steps waited for data."""
    ended: str | None = None
    """How the attempt ended, in its last line, if it could still be reported."""

    @property
    def steps(self) -> range:
        """The steps that were finished in it."""
        if self.phase != "step" or self.first_step is None or self.last_step is None:
            return range(0)
        return range(self.first_step, self.last_step + 1)


class Timeline:
    """Writes the `phases`; as a context, it writes at the end how the attempt ended."""

    def __init__(self, phases: Phases) -> None:
        self.ended = "done"
        """How it ends if nothing is raised."""
        self._phases = phases
        self._lock = threading.Lock()
        self._file: int | None = None
        self._open: tuple[float, int] | None = None
        self._at = 0
        self._attempt = 0

    def open(self, path: Path) -> None:
        """Write into this file from here on, the phases so far included."""
        earlier = read(path) if path.exists() else []
        self._attempt = 1 + max((span.attempt for span in earlier), default=0)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._at = os.lseek(file, 0, os.SEEK_END)
        if self._at and os.pread(file, 1, self._at - 1) != b"\n":
            self._at += os.pwrite(file, b"\n", self._at)
        self._file = file
        start_thread(self._run, "timeline")

    def __enter__(self) -> "Timeline":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.end(self.ended if error is None else summary(error))

    def end(self, how: str) -> None:
        """Write into the last line how the attempt ended; nothing is written after that."""
        self._write(how)

    def _run(self) -> None:
        while self._file is not None:
            self._write()
            time.sleep(EVERY)

    def _write(self, ended: str | None = None) -> None:
        with self._lock:
            if self._file is None:
                return
            try:
                over, now, until = math.inf, self._phases.now, 0.0
                while over >= now.begin:
                    # Read first: what begins from here on would come before what it ends.
                    now, until = self._phases.now, time.monotonic()
                    over = -math.inf
                    while self._phases.ended:
                        phase, end = self._phases.ended.popleft()
                        self._line(phase, end, None)
                        over = phase.begin
                self._line(now, until, ended)
                if ended is not None:
                    os.close(self._file)
                    self._file = None
            except OSError as error:
                print(f"the timeline cannot be written; the run continues. {error}")
                self._file = None

    def _line(self, phase: Phase, end: float, ended: str | None) -> None:
        """Write a phase after the others, or in its place if it is the last that was written."""
        assert self._file is not None
        span = Span(
            self._attempt,
            phase.name,
            round(self._phases.wall(phase.begin), 3),
            round(self._phases.wall(end), 3),
            phase.first_step,
            phase.step,
            round(phase.data_wait, 3),
            ended,
        )
        fields = span._asdict()
        if ended is None:
            del fields["ended"]
        line = json.dumps(fields).encode()
        if self._open is not None and self._open[0] == phase.begin:
            line = line.ljust(self._open[1])
        elif self._open is not None:
            self._at += self._open[1] + 1
        self._open = (phase.begin, len(line))
        os.pwrite(self._file, line + b"\n", self._at)


def read(path: Path) -> list[Span]:
    """The spans of a timeline.jsonl in the order they were written; a torn line is left out."""
    spans = []
    for line in system.read_text(path).splitlines():
        with contextlib.suppress(ValueError, TypeError):
            spans.append(Span(**json.loads(line)))
    return spans
