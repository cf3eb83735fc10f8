"""A leg of a run: from one of its checkpoints, or the beginning, as far as it goes."""

import dataclasses
import functools
import time
from collections.abc import Callable
from contextlib import ExitStack

import jax

from launch.config import to_dict
from launch.process import exits
from launch.run import build
from launch.run.course import Course
from launch.run.ready import Ready, place_of, steps_left
from launch.run.resume import Found, find
from train.feed import Feed, local_rows
from train.guard.bad_numbers import Guard, Rollback
from train.guard.corruption import CheckedSaver, CheckedStep
from train.loop import Saver, TrainStep, fit
from train.report.profile import Profile
from train.report.record import Place, Recorder
from train.report.writers import Record
from train.state import TrainState


def run_legs(ready: Ready) -> tuple[TrainState, Place]:
    """Train to the end or a stop; at each rollback, from the newest checkpoint on without those
    rows."""
    found, course = ready.found, ready.found.course if ready.found else Course()
    while True:
        try:
            return run_leg(ready, found, course)
        except Rollback as bad:
            course = course.without(bad, ready.train)
            rows, said = course.skipped_rows, str(bad)
        # Here the exception and the state that it held are gone: there may be room for one only.
        ready.phases.enter("restore")
        ready.checkpointer.wait()
        found = find(ready.run.path, ready.config, ready.rows, ready.report.say, ready.checkpointer)
        step = place_of(found).step
        ready.report.say(f"{said}: back to step {step}, leaving out {rows:,} rows in all")
        profile = ready.config.profile
        if profile is not None and profile[0] < step:
            ready = ready._replace(config=dataclasses.replace(ready.config, profile=None))


def run_leg(ready: Ready, found: Found | None, course: Course) -> tuple[TrainState, Place]:
    """Train from a checkpoint, or from the beginning, with state, feed and writers of its own."""
    config, train, report, phases = ready.config, ready.train, ready.report, ready.phases
    place, length = place_of(found), config.data.sequence_length
    last_step = place.step + steps_left(config, place, ready.first_batch_size)
    with ExitStack() as closing, exits.leaving_on_error():
        phases.enter("restore" if found else "compile")
        state = _state(ready, found)
        write = report.open_writers(ready.run, place, last_step, closing)
        evaluate = None
        if ready.measure is not None:
            evaluate = functools.partial(_evaluate, ready.measure, write)
        feed = Feed(
            ready.rows.batches(
                place.examples, train.batch_size, local_rows(train.batch_size), course.skipped
            ),
            start=place.examples,
            batch_size=train.batch_size,
            schedule=build.schedule(train, ready.first_batch_size),
        )
        closing.callback(feed.close)
        meta = {
            "first_batch_size": ready.first_batch_size,
            **ready.rows.meta(),
            "config": to_dict(config),
            "versions": report.versions,
            **course.meta(),
        }
        profile = Profile(config.profile, ready.run.profile, phases)
        closing.callback(profile.close)
        guard = Guard(
            train.bad_numbers,
            report.say,
            functools.partial(course.describe, ready.rows),
            found.bad_numbers if found else None,
        )
        recorder = Recorder(
            train,
            report.throughput(length),
            write,
            guard,
            phases,
            tokens_per_row=length,
            end=ready.end,
            skipped_rows=course.skipped_rows,
        )
        train_step, saver = _checked(ready, place.step)
        return fit(
            state,
            place,
            end=ready.end,
            config=train,
            train_step=train_step,
            batches=feed,
            evaluate=evaluate,
            saver=saver,
            meta=meta,
            recorder=recorder,
            profile=profile,
            phases=phases,
            stop=ready.stop.reached,
        )


def _checked(ready: Ready, step: int) -> tuple[TrainStep, Saver]:
    """The train step and the saver, with the checks for corruption that are asked for."""
    train_step, saver = ready.train_step, ready.checkpointer
    if any(ready.checks):
        every_steps = ready.train.corruption.every_steps
        train_step = CheckedStep(
            train_step, step, every_steps=every_steps, **ready.checks._asdict()
        )
    if ready.checks.replicas:
        saver = CheckedSaver(saver, ready.checks.replicas)
    return train_step, saver


def _evaluate(
    measure: Callable[[TrainState], dict[str, float]],
    write: Callable[[Record], None],
    state: TrainState,
    step: int,
) -> dict[str, float]:
    measured = measure(state)
    write({"step": step, **measured, "time": time.time()})
    return measured


def _state(ready: Ready, found: Found | None) -> TrainState:
    """The state to go on with: fresh, or as the checkpoint holds it."""
    if found is None:
        return build.make_fresh_state(ready.fresh)
    place, first_batch_size, changed = found.place, found.first_batch_size, found.changed
    say = ready.report.say
    state = ready.checkpointer.restore(jax.eval_shape(ready.fresh), place.step)
    say(f"resuming from step {place.step}, after {place.examples:,} rows")
    if changed:
        say(f"not bit-equal, because versions changed: {', '.join(changed)}")
    last = place.step + steps_left(ready.config, place, first_batch_size)
    if first_batch_size != ready.train.batch_size:
        say(
            f"length and schedule stay counted in steps of {first_batch_size} rows, the first "
            f"batch size: --train.steps {ready.train.steps} ends at step {last}"
        )
    if last == place.step:
        say("nothing is left to train: it has made its steps; try a larger --train.steps")
    return state
