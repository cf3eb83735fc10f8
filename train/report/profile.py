"""A trace of a window of steps, to be opened in Perfetto or TensorBoard's profile plugin."""

from pathlib import Path

import jax

from train.report.phases import Phases


class Profile:
    """Starts and stops JAX's profiler between two steps; without a window it does nothing."""

    def __init__(self, window: tuple[int, int] | None, directory: Path, phases: Phases) -> None:
        self._window = window
        self._directory = directory
        self._phases = phases
        self._running = False

    def before(self, step: int) -> None:
        """Call before `step` begins."""
        if self._window is None:
            return
        start, stop = self._window
        if not self._running and start <= step < stop:
            with self._phases.during("profile"):
                jax.profiler.start_trace(str(self._directory))
            self._running = True
        elif self._running and step >= stop:
            self.close()

    def close(self) -> None:
        """End a trace that is still running."""
        if self._running:
            with self._phases.during("profile"):
                jax.profiler.stop_trace()
            self._running = False
