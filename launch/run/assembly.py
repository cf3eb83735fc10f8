"""A run, put together and run: what is asked, data, start, program, directory; then the steps."""

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import jax

from data.errors import UserError
from data.rows.rows import Rows
from launch.config import RunConfig, to_dict
from launch.process import exits, typed
from launch.process.distributed import from_first_process
from launch.process.peers import Peers
from launch.run import build
from launch.run.directory import RunDirectory
from launch.run.report import Report
from launch.run.resume import (
    StartingPoint,
    beginning,
    initial_state,
    latest,
    require_same_rows,
    require_same_run,
    require_steps,
)
from launch.run.room import compiled_size, device_memory, require_room, step_extra
from launch.run.signing import signing_key
from launch.run.watch import Watch
from train.checkpoint.checkpointer import Checkpointer
from train.checkpoint.saver import RunSaver
from train.feed import Feed, local_rows
from train.guard.bad_numbers import Guard, Rollback
from train.guard.corruption import CheckedStep, Recompute, Replicas
from train.loop import Evaluation, Instruments, TrainProgram, TrainStep, fit
from train.optimizer.schedule import odd_schedule
from train.report.profile import Profile
from train.report.record import Place, Recorder
from train.report.writers import Record, require_wandb
from train.state import TrainState

OpenDirectory = Callable[[RunConfig, ExitStack], RunDirectory]
"""`launch.run.directory.open_run_directory` for the directory and the way asked for."""


class Parts(NamedTuple):
    """What stays as it is when a run goes back to a checkpoint."""

    config: RunConfig
    """Resolved for the devices."""
    settings: RunConfig
    """As the run's files keep it."""
    report: Report
    rows: Rows
    fresh: Callable[[], TrainState]
    train_step: TrainStep
    replicas: Replicas | None
    recompute: Recompute | None
    measure: build.Evaluator | None
    run: RunDirectory
    checkpointer: Checkpointer
    watch: Watch


class Trained(NamedTuple):
    """How a training ended."""

    path: Path
    """The run's directory."""
    step: int
    """The last one, which is saved."""
    finished: bool
    """False if it was stopped by a signal; then it can be resumed."""


def run_training(
    config: RunConfig, resumed: Path | None, open_directory: OpenDirectory, watch: Watch
) -> Trained:
    """Train as `config` says on the current mesh, to the end or until `watch.stop` asks; from the
    newest checkpoint of the run in the directory `resumed`, if that is not None."""
    phases, stop = watch.phases, watch.stop
    with ExitStack() as resources, exits.leaving_on_error():
        parts, start = _assemble(config, resumed, open_directory, watch, resources)
        peers = Peers(watch.job, phases, config.train.watchdog.step_seconds)
        watch.watchdog.saving_since = lambda: parts.checkpointer.saving_since
        watch.watchdog.delayed_at = lambda: peers.delayed_at
        with closing(peers):
            state, place = _train_from(parts, start)
        phases.enter("finish")
        stop.close()
        resources.close()
        report = parts.report
        if finished := place.examples >= start.end(parts.config.train):
            report.finish(parts.run, state, place, parts.rows.tokenizer)
            if parts.measure is not None:
                report.show(parts.run, parts.measure)
        else:
            watch.timeline.ended = f"stopped by {stop.asked}"
            kept = "saved" if place.step else "nothing to save"
            report.say(f"stopped by {stop.asked} at step {place.step}, {kept}{stop.hint()}")
        return Trained(parts.run.path, place.step, finished)


def _assemble(
    config: RunConfig,
    resumed: Path | None,
    open_directory: OpenDirectory,
    watch: Watch,
    resources: ExitStack,
) -> tuple[Parts, StartingPoint]:
    """All parts of the run, which `resources` closes, and where it starts.

    Nothing is written before the config is known to fit the devices, the data and the checkpoint.
    """
    phases, backend = watch.phases, jax.default_backend()
    unresolved, config = config, build.resolve(config, backend)
    settings = build.remembered(config, unresolved)
    model, train, data = config.model, config.train, config.data
    report = Report(config, to_dict(settings))

    # What is asked, as far as it can be judged without the rows, which may take hours to make.
    if project := config.wandb:
        from_first_process(lambda: require_wandb(project) or "")
    build.check_batch(train, data.sequence_length, model)
    build.require_checks(train, deterministic=config.deterministic)
    if resumed:
        require_same_run(resumed, config)
    start = StartingPoint(train.batch_size) if resumed else beginning(config)

    # The data.
    rows = data.open_rows("train", report=report.say)
    rows.check(model)
    require_same_rows(rows)
    eval_rows = data.open_rows("held_out", report=report.say) if train.eval_batches else None

    # The start.
    phases.enter("restore" if resumed else "start")
    if resumed:
        directory = RunDirectory.at(resumed).checkpoints
        checkpointer = Checkpointer(directory, train.checkpoint, key=signing_key())
        start = latest(checkpointer, config, rows, report.say)
        if not start.saved:
            report.say("no checkpoint was written before the run ended; starting at step 0")
    require_steps(config, start)

    # The program, traced.
    phases.enter("compile")
    began = time.perf_counter()
    fresh = build.fresh_state(model, train)
    shapes, available = jax.eval_shape(fresh), device_memory()
    extra = step_extra(model, train, data, backend)
    memory = require_room(shapes, available, extra)
    lowered = build.lower_train_step(shapes, train, data.batch_shapes(train.batch_size))

    # The directory.
    run = _open(settings, open_directory, watch, resources)
    report.begin(run, rows)
    if not start.saved and (odd := odd_schedule(train.optimizer, train.steps)):
        report.say(odd)
    checkpointer = Checkpointer(run.checkpoints, train.checkpoint, key=signing_key())
    resources.callback(checkpointer.close)

    # The program, compiled.
    report.say(memory)
    train_step = lowered.compile()
    seconds = time.perf_counter() - began
    report.say(f"train step compiled in {seconds:.1f} s{compiled_size(train_step, available)}")
    measure = None
    if eval_rows is not None:
        measure = build.Evaluator(train, eval_rows, batches=train.eval_batches)
    parts = Parts(
        config=config,
        settings=settings,
        report=report,
        rows=rows,
        fresh=fresh,
        train_step=train_step,
        replicas=Replicas(shapes) if train.corruption.replicas else None,
        recompute=Recompute(shapes) if train.corruption.recompute else None,
        measure=measure,
        run=run,
        checkpointer=checkpointer,
        watch=watch,
    )
    return parts, start


def _open(
    settings: RunConfig, open_directory: OpenDirectory, watch: Watch, resources: ExitStack
) -> RunDirectory:
    """The run's directory, opened by process 0, which takes that back if the start is refused
    before its first step."""
    undo = ExitStack()

    def refused(kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UserError) and watch.phases.now.step is None:
            undo.close()

    resources.push(refused)
    path = from_first_process(lambda: str(open_directory(settings, undo).path))
    run = RunDirectory(Path(path))
    watched = typed.launched() or not exits.is_program()
    watch.stop.resume_command = None if watched else typed.train(run.path)
    if jax.process_index() == 0:
        watch.timeline.open(run.timeline)
    return run


def _train_from(parts: Parts, start: StartingPoint) -> tuple[TrainState, Place]:
    """Train from there to the end or a stop; at each rollback, from the newest checkpoint again,
    without the rows at fault."""
    while True:
        try:
            return _fit(parts, start)
        except Rollback as bad:
            course, reason = start.course.without(bad, parts.config.train), str(bad)
        # Here the exception and the state that it held are gone: there may be room for one only.
        say = parts.report.say
        parts.watch.phases.enter("restore")
        parts.checkpointer.wait()
        start = latest(parts.checkpointer, parts.config, parts.rows, say)._replace(course=course)
        rows = course.skipped_rows
        say(f"{reason}: back to step {start.place.step}, leaving out {rows:,} rows in all")


def _fit(parts: Parts, start: StartingPoint) -> tuple[TrainState, Place]:
    """Train from there, with state, feed and writers of its own."""
    config, report, place, course = parts.config, parts.report, start.place, start.course
    train, length, end = config.train, config.data.sequence_length, start.end(config.train)
    phases = parts.watch.phases
    with ExitStack() as resources, exits.leaving_on_error():
        phases.enter("restore" if start.saved else "compile")
        state = initial_state(start, parts.fresh, parts.checkpointer, train, report.say)
        write = report.open_writers(parts.run, place, start.last_step(train), resources)
        batches = parts.rows.batches(
            place.examples, train.batch_size, local_rows(train.batch_size), course.skipped
        )
        feed = Feed(
            batches,
            start=place.examples,
            batch_size=train.batch_size,
            schedule=build.schedule(train, start.first_batch_size),
        )
        resources.callback(feed.close)
        meta = {
            **start.meta(),
            **parts.rows.meta(),
            "config": to_dict(parts.settings),
            "versions": report.versions,
        }
        # After a rollback into the profile's steps it is not begun in their middle.
        whole = config.profile if config.profile and config.profile[0] >= place.step else None
        profile = Profile(whole, parts.run.profile, phases)
        resources.callback(profile.close)
        describe = functools.partial(course.describe, parts.rows)
        recorder = Recorder(
            train,
            report.throughput(),
            write,
            Guard(train.bad_numbers, report.say, describe, start.bad_numbers),
            phases,
            tokens_per_row=length,
            end=end,
            skipped_rows=course.skipped_rows,
        )
        train_step, replicas = parts.train_step, parts.replicas
        if replicas or parts.recompute:
            train_step = CheckedStep(
                train_step,
                place.step,
                every_steps=train.corruption.every_steps,
                replicas=replicas,
                recompute=parts.recompute,
            )
        return fit(
            state,
            place,
            end=end,
            program=TrainProgram(train_step, _evaluation(parts, write)),
            batches=feed,
            saver=RunSaver(parts.checkpointer, meta, replicas.check if replicas else None),
            instruments=Instruments(recorder, profile, phases),
            stop=parts.watch.stop.reached,
        )


def _evaluation(parts: Parts, write: Callable[[Record], None]) -> Evaluation | None:
    if (measure := parts.measure) is None:
        return None

    def measured(state: TrainState, step: int) -> dict[str, float]:
        values = measure(state)
        write({"step": step, **values, "time": time.time()})
        return values

    return Evaluation(parts.config.train.eval_every, measured)
