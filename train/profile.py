"""A trace of a window of steps, to be opened in Perfetto or TensorBoard's profile plugin."""

from pathlib import Path

import jax


class Profile:
    """Starts and stops JAX's profiler between two steps; without a window it does nothing."""

    def __init__(self, window: tuple[int, int] | None, directory: Path) -> None:
        self._window = window
        self._directory = directory
        self._running = False

    def before(self, step: int) -> None:
        """Call before `step` begins."""
        if self._window is None:
            return
        start, stop = self._window
        if not self._running and start <= step < stop:
            jax.profiler.start_trace(str(self._directory))
            self._running = True
        elif self._running and step >= stop:
            self.close()

    def close(self) -> None:
        """End a trace that is still running."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
