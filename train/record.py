"""Reads a step's metrics one step late, stops on what is not finite, and makes the records."""

import dataclasses
import time
from collections.abc import Callable

import jax

from train.config import TrainConfig
from train.feed import Fed
from train.metrics import Record
from train.step import Metrics
from train.throughput import Throughput

MOST_DROPPED_IN_A_ROW = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run stands: updates made, and rows of the training order they used."""

    step: int
    examples: int


class Recorder:
    """Holds the metrics of the newest step on the device until `read` is called."""

    def __init__(
        self,
        config: TrainConfig,
        throughput: Throughput,
        write: Callable[[Record], None],
        say: Callable[[str], None],
        *,
        tokens_per_row: int,
        end: int,
    ) -> None:
        self._config = config
        self._throughput = throughput
        self._write = write
        self._say = say
        self._tokens_per_row = tokens_per_row
        self._end = end
        self._pending: tuple[Place, Fed, Metrics] | None = None
        self._dropped = self._dropped_in_a_row = 0
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

        Raises ValueError if the step was not finite and config.non_finite is "stop".
        """
        if self._pending is None:
            return
        (place, fed, on_device), self._pending = self._pending, None
        metrics = jax.device_get(on_device)
        tokens = (fed.rows[1] - fed.rows[0]) * self._tokens_per_row
        self._throughput.step(tokens, time.perf_counter(), waited=fed.waited)
        if metrics.finite:
            self._dropped_in_a_row = 0
        else:
            self._not_finite(place, fed, metrics)
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
            "dropped_updates": self._dropped,
        }
        self._write(record | self._throughput.take() | {"time": time.time()})

    def _not_finite(self, place: Place, fed: Fed, metrics: Metrics) -> None:
        first, after = fed.rows
        what = (
            f"loss={float(metrics.loss)} and gradient norm={float(metrics.grad_norm)} of step "
            f"{place.step} (data rows {first} to {after - 1})"
        )
        if self._config.non_finite == "stop":
            raise ValueError(
                f"{what} must be finite, because nothing can be learnt from them; that update was "
                "not made; try a new run with a lower --train.optimizer.learning-rate, or, if only "
                "these rows are at fault, --resume with --train.non-finite skip"
            )
        self._dropped += 1
        self._dropped_in_a_row += 1
        if self._dropped_in_a_row == MOST_DROPPED_IN_A_ROW:
            raise ValueError(
                f"{what} must be finite, because {MOST_DROPPED_IN_A_ROW} updates in a row were "
                "dropped and nothing is learnt any more; try a new run with a lower "
                "--train.optimizer.learning-rate"
            )
        self._say(f"{what} are not finite: that update was dropped, {self._dropped} so far")
