"""What this process is doing, and since when: one clock for watchdog, heartbeat and timeline."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from typing import Literal, NamedTuple

Name = Literal["start", "compile", "restore", "step", "evaluate", "save", "profile", "finish"]
RECENT = 64


class Phase(NamedTuple):
    """A stretch of time in which the process did one thing."""

    name: Name
    begin: float
    """Seconds of the steady clock, as all times here."""
    mark: float
    """When something last happened: the phase began, or a step was finished in it."""
    first_step: int | None
    """The first step that was under way in it; None before the first of all."""
    step: int | None
    """The last step that was finished; None before the first of all."""
    data_wait: float
    """Seconds its steps waited for data."""


class Ended(NamedTuple):
    """A phase that is over."""

    phase: Phase
    end: float


class Phases:
    """Written by the main thread, which only stores numbers; read by other threads at any time."""

    def __init__(self) -> None:
        # Wall time that runs steadily even if the machine's clock is set.
        self._offset = time.time() - time.monotonic()
        self._born = time.monotonic()
        self.now = Phase("start", self._born, self._born, None, None, 0.0)
        """The current phase."""
        self.ended: deque[Ended] = deque()
        """Phases that are over, in order; the timeline takes them away."""
        self.recent: deque[float] = deque(maxlen=RECENT)
        """Seconds of the last steps."""
        self.fetching_since: float | None = None
        """Since when the loop waits for data; None if it does not."""
        self._productive = 0.0

    def enter(self, name: Name) -> None:
        """End the current phase and begin another; nothing, if it is the same."""
        if name == self.now.name:
            return
        before, now = self.now, time.monotonic()
        self._productive += _productive(before, now)
        self.ended.append(Ended(before, now))
        following = None if before.step is None else before.step + 1
        self.now = Phase(name, now, now, following, before.step, 0.0)

    @contextlib.contextmanager
    def during(self, name: Name) -> Iterator[None]:
        """A phase within another, which continues afterwards."""
        before = self.now.name
        self.enter(name)
        try:
            yield
        finally:
            self.enter(before)

    @contextlib.contextmanager
    def fetching(self) -> Iterator[None]:
        """The loop asks for data within."""
        self.fetching_since = time.monotonic()
        try:
            yield
        finally:
            self.fetching_since = None

    def off_step_since(self) -> float | None:
        """When it began something other than a step, such as a wait for data or a save."""
        phase, fetching = self.now, self.fetching_since
        return fetching if phase.name == "step" else phase.begin

    def begin_steps(self, step: int) -> None:
        """Steps follow, the first of them after `step`."""
        self.now = self.now._replace(step=step)
        self.enter("step")

    def finished(self, step: int, waited: float) -> None:
        """`step` is known to be finished; it had waited so many seconds for its data."""
        phase, now = self.now, time.monotonic()
        self.recent.append(now - phase.mark)
        self.now = phase._replace(mark=now, step=step, data_wait=phase.data_wait + waited)

    def goodput(self) -> float:
        """Share of the time since the start that went into steps, waiting for data left out."""
        now = time.monotonic()
        return (self._productive + _productive(self.now, now)) / max(now - self._born, 1e-9)

    def wall(self, steady: float) -> float:
        """Unix time of a moment of the steady clock."""
        return steady + self._offset


def _productive(phase: Phase, end: float) -> float:
    return end - phase.begin - phase.data_wait if phase.name == "step" else 0.0
