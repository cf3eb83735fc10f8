"""The loop: fetch, step, record the step before, evaluate, save. All it uses is passed in."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
from jaxtyping import Array

from data.batch import Batch
from train.feed import Fed
from train.report.phases import Phases
from train.report.profile import Profile
from train.report.record import Place, Recorder
from train.state import TrainState
from train.step import Metrics

TrainStep = Callable[[TrainState, Batch, Array, Array], tuple[TrainState, Metrics]]


class Evaluation(NamedTuple):
    """Measures the held-out rows every so many steps (0: not in between), and after the last."""

    every: int
    measure: Callable[[TrainState, int], dict[str, float]]
    """`measure(state, step)` records what it measures, and returns it."""


class TrainProgram(NamedTuple):
    """What runs on the devices."""

    train_step: TrainStep
    evaluation: Evaluation | None = None


class Instruments(NamedTuple):
    """What observes the steps."""

    recorder: Recorder
    profile: Profile
    phases: Phases


class Batches(Protocol):
    """What `train.feed.Feed` is to the loop."""

    def __next__(self) -> Fed: ...


class Saver(Protocol):
    """What `train.checkpoint.saver.RunSaver` is to the loop."""

    def is_due(self, step: int) -> bool: ...

    def save(
        self,
        step: int,
        state: object,
        position: dict[str, Any],
        *,
        metrics: dict[str, float] | None,
        force: bool,
    ) -> bool: ...

    def wait(self) -> None: ...


def fit(
    state: TrainState,
    place: Place,
    *,
    end: int,
    program: TrainProgram,
    batches: Batches,
    saver: Saver,
    instruments: Instruments,
    stop: Callable[[], bool],
) -> tuple[TrainState, Place]:
    """Train from `place` until `end` rows are seen, or `stop()`; return when that is on disk.

    `stop` is asked before every step. No device value steers the loop; the metrics of a step are
    read, and judged by the recorder's guard, while the next runs.
    """
    train_step, evaluation = program
    recorder, profile, phases = instruments
    start = place
    measured: dict[str, float] = {}

    def save(*, force: bool) -> None:
        recorder.read()
        with phases.during("save"):
            position = {"examples_seen": place.examples, "bad_numbers": recorder.guard.meta()}
            saver.save(place.step, state, position, metrics=measured, force=force)

    phases.begin_steps(place.step)
    while place.examples < end and not stop():
        profile.before(place.step)
        ceiling = recorder.guard.ceiling(place.step + 1)
        with jax.transfer_guard("disallow"):
            with phases.fetching():
                fed = next(batches)
            state, metrics = train_step(state, fed.batch, fed.learning_rate, ceiling)
        recorder.read()
        place = Place(step=place.step + 1, examples=fed.rows[1])
        recorder.add(place, fed, metrics)
        measured = {}
        if evaluation and (
            place.examples >= end or (evaluation.every and place.step % evaluation.every == 0)
        ):
            recorder.read()
            with phases.during("evaluate"):
                measured = evaluation.measure(state, place.step)
            recorder.start()
        if saver.is_due(place.step):
            save(force=False)
    if place != start:
        save(force=True)
    profile.close()
    with phases.during("save"):
        saver.wait()
    return state, place
