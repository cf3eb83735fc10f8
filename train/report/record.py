"""Reads a step's metrics one step late, has them judged, and makes the records."""

import dataclasses
import time
from collections.abc import Callable

import jax

from train.config import TrainConfig
from train.feed import Fed
from train.guard.bad_numbers import Guard
from train.report.phases import Phases
from train.report.throughput import Throughput
from train.report.writers import Record
from train.step import Metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run stands: steps made, and rows they trained on."""

    step: int
    examples: int


class Recorder:
    """Holds the metrics of the newest step on the device until `read` is called."""

    def __init__(
        self,
        config: TrainConfig,
        throughput: Throughput,
        write: Callable[[Record], None],
        guard: Guard,
        phases: Phases,
        *,
        tokens_per_row: int,
        end: int,
        skipped_rows: int = 0,
    ) -> None:
        self._config = config
        self._throughput = throughput
        self._write = write
        self.guard = guard
        """Judges every step that is read."""
        self._phases = phases
        self._tokens_per_row = tokens_per_row
        self._end = end
        self._skipped_rows = skipped_rows
        self._pending: tuple[Place, Fed, Metrics] | None = None
        self._first = True
        self.start()

    def start(self) -> None:
        """Time begins to count (again): the next step follows."""
        self._throughput.start(time.perf_counter())

    def add(self, place: Place, fed: Fed, metrics: Metrics) -> None:
        """The step that led to `place` is under way; the one before it must have been read."""
        assert self._pending is None
        self._pending = (place, fed, metrics)

    def read(self) -> None:
        """Wait for the pending step, if there is one, and write its record when one is due.

        Raises what the guard raises.
        """
        if self._pending is None:
            return
        (place, fed, on_device), self._pending = self._pending, None
        metrics = jax.device_get(on_device)
        self._phases.finished(place.step, fed.waited)
        tokens = (fed.rows[1] - fed.rows[0]) * self._tokens_per_row
        self._throughput.step(tokens, time.perf_counter(), waited=fed.waited)
        self.guard.judge(place.step, fed.rows, metrics)
        last = place.examples >= self._end
        if not (self._first or last or place.step % self._config.log_every == 0):
            return
        self._first = False
        record: dict[str, float | int | str] = {
            "step": place.step,
            "loss": float(metrics.loss),
            "learning_rate": fed.rate,
            "grad_norm": float(metrics.grad_norm),
            "examples_seen": place.examples,
            "tokens_seen": place.examples * self._tokens_per_row,
            "dropped_updates": self.guard.dropped,
            "skipped_rows": self._skipped_rows,
            "goodput": self._phases.goodput(),
        }
        self._write(record | self._throughput.take() | {"time": time.time()})
