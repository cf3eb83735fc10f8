"""The program: fetch, step, log the step before, evaluate, save. All it uses is ready-made."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
from jaxtyping import Array

from data.batch import Batch
from train.config import TrainConfig
from train.feed import Fed
from train.report.phases import Phases
from train.report.profile import Profile
from train.report.record import Place, Recorder
from train.state import TrainState
from train.step import Metrics

TrainStep = Callable[[TrainState, Batch, Array, Array], tuple[TrainState, Metrics]]


class Batches(Protocol):
    """What `train.feed.Feed` is to the loop."""

    def __next__(self) -> Fed: ...


class Saver(Protocol):
    """What `train.checkpoint.Checkpointer` is to the loop."""

    def is_due(self, step: int) -> bool: ...

    def save(
        self,
        step: int,
        state: object,
        meta: dict[str, Any],
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
    config: TrainConfig,
    train_step: TrainStep,
    batches: Batches,
    evaluate: Callable[[TrainState, int], dict[str, float]] | None,
    saver: Saver,
    meta: dict[str, Any],
    recorder: Recorder,
    profile: Profile,
    phases: Phases,
    stop: Callable[[], bool],
) -> tuple[TrainState, Place]:
    """Train from `place` until `end` rows are seen, or `stop()`; return when that is on disk.

    `evaluate(state, step)` measures and records the held-out loss. `meta` goes into every
    checkpoint beside the position. `stop` is asked before every step. No device value steers the
    loop; the metrics of a step are read, and judged by the recorder's guard, while the next runs.
    """
    begun = place
    measured: dict[str, float] = {}

    def save(*, force: bool) -> None:
        recorder.read()
        with phases.during("save"):
            position = {"examples_seen": place.examples, "bad_numbers": recorder.guard.meta()}
            saver.save(place.step, state, meta | position, metrics=measured, force=force)

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
        every, measured = config.eval_every, {}
        if evaluate and (place.examples >= end or (every and place.step % every == 0)):
            recorder.read()
            with phases.during("evaluate"):
                measured = evaluate(state, place.step)
            recorder.start()
        if saver.is_due(place.step):
            save(force=False)
    if place != begun:
        save(force=True)
    profile.close()
    with phases.during("save"):
        saver.wait()
    return state, place
