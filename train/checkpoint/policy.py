"""When a checkpoint is due."""

from train.config import CheckpointConfig
from train.processes import decided


class Due:
    """Says when a checkpoint is due, the same on every process.

    Steps are counted alike everywhere, clocks are not: process 0's clock decides. So that not every
    step waits for it, the processes ask again only when half of the steps are done that remain at
    the pace so far.
    """

    def __init__(self, config: CheckpointConfig) -> None:
        self._steps, self._at = config.every_steps, frozenset(config.at_steps)
        self._seconds = None if config.every_minutes is None else 60 * config.every_minutes
        self._first: tuple[int, float] | None = None
        self._ask = 0

    def restart(self, step: int, now: float) -> None:
        """Count time from `now`, when `step` was saved or the run began."""
        self._first, self._ask = (step, now), step + 1

    def at(self, step: int, now: float) -> bool:
        """Whether `step`, which ended at `now` by this process's clock, is to be saved."""
        by_steps = self._steps is not None and step % self._steps == 0
        return self._by_time(step, now) or by_steps or step in self._at

    def _by_time(self, step: int, now: float) -> bool:
        if self._seconds is None:
            return False
        if self._first is None:
            self.restart(step, now)
            return False
        if step < self._ask:
            return False
        first, began = self._first
        elapsed = float(decided("due", lambda seconds: seconds[0], str(now - began)))
        done = step - first
        left = (self._seconds - elapsed) / max(elapsed, 1e-3) * done
        self._ask = step + max(1, int(min(left, done) / 2))
        return elapsed >= self._seconds
