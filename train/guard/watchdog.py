"""Notices that this process hangs: a thread compares how long it takes with limits."""

import statistics
import threading
import time
from collections.abc import Callable

from train.config import WatchdogConfig
from train.report.phases import Phases

TICK = 0.5  # seconds
MIN_STEPS = 3
"""Steps that must have been timed before their median means anything."""


class Watchdog:
    """Calls `hung(what)` when a step, another phase or a background save takes too long.

    What it counts is the time in which its own thread ran: a process that was stopped for a while,
    or a machine that slept, has not hung.
    """

    def __init__(
        self, phases: Phases, config: WatchdogConfig, hung: Callable[[str], object]
    ) -> None:
        self._phases = phases
        self._config = config
        self._hung = hung
        self.saving_since: Callable[[], float | None] = lambda: None
        """When the save began that is being written in the background."""
        self.delayed_at: Callable[[], float | None] = lambda: None
        """When another process was last known to be doing something other than the step."""
        self._awake = 0.0
        self._marks: dict[str, tuple[object, float]] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._run, name="meshloom watchdog", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._closed.wait(TICK):
            now = time.monotonic()
            self._awake += min(now - last, 2 * TICK)
            last = now
            if what := self._look():
                self._hung(what)
                return

    def _look(self) -> str | None:
        """What takes too long, if something does."""
        other = 60 * self._config.phase_minutes
        saving = self.saving_since()
        seconds = self._seconds_since("save", saving)
        if saving is not None and seconds > other:
            return f"a save in the background, for {seconds:.0f} s (limit {other:.0f} s)"
        phase = self._phases.now
        fetching = self._phases.fetching_since
        seconds = self._seconds_since("phase", (phase.mark, fetching))
        delayed = self.delayed_at()
        since_delay = self._seconds_since("peers", delayed)
        if phase.name == "start":
            return None
        recent = list(self._phases.recent)
        if phase.name != "step" or fetching is not None or len(recent) < MIN_STEPS:
            if seconds <= other:
                return None
            what = "the wait for data" if fetching is not None else phase.name
            return f"{what}, for {seconds:.0f} s (limit {other:.0f} s)"
        median = statistics.median(recent)
        limit = max(self._config.step_seconds, self._config.step_medians * median)
        alone = seconds if delayed is None else min(seconds, since_delay)
        if alone <= limit and seconds <= max(limit, other):
            return None
        late = f", {alone:.1f} s of them since another process was late" if alone < seconds else ""
        return (
            f"the step after step {phase.step}, for {seconds:.1f} s{late} (limit {limit:.1f} s, "
            f"median of the last {len(recent)} steps {median:.3g} s)"
        )

    def _seconds_since(self, name: str, mark: object) -> float:
        """Seconds this thread has run since it first saw this mark."""
        if self._marks.get(name, (None, 0.0))[0] != mark:
            self._marks[name] = (mark, self._awake)
        return self._awake - self._marks.get(name, (mark, self._awake))[1]
