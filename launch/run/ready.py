"""All that a run needs and keeps, from its config: data, run directory, compiled step."""

import dataclasses
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import jax

from data import system
from data.errors import UserError
from data.rows.rows import Rows
from launch.config import RunConfig
from launch.process import exits, typed
from launch.process.distributed import from_first_process
from launch.process.interrupt import Stop
from launch.run import build
from launch.run.build import Checks
from launch.run.directory import RunDirectory, open_run_directory
from launch.run.report import Report
from launch.run.resume import Found, find, require_same_rows, require_same_run
from launch.run.room import besides_state, compiled_size, device_memory, require_room
from launch.run.signing import signing_key
from launch.run.timeline import Timeline
from train.checkpoint.checkpointer import Checkpointer
from train.config import TrainConfig
from train.loop import TrainStep
from train.optimizer.schedule import odd_schedule
from train.processes import is_first
from train.report.phases import Phases
from train.report.record import Place
from train.report.writers import require_wandb
from train.state import TrainState


class Ready(NamedTuple):
    """What stays as it is when a run goes on from another of its checkpoints."""

    config: RunConfig
    """As the run remembers it: with the compute type settled."""
    train: TrainConfig
    """With all settled that depends on the backend."""
    report: Report
    run: RunDirectory
    rows: Rows
    fresh: Callable[[], TrainState]
    train_step: TrainStep
    checks: Checks
    measure: Callable[[TrainState], dict[str, float]] | None
    checkpointer: Checkpointer
    found: Found | None
    """The checkpoint to begin with."""
    first_batch_size: int
    phases: Phases
    stop: Stop

    @property
    def end(self) -> int:
        """Rows of the whole run."""
        return self.train.steps * self.first_batch_size


def prepare(
    config: RunConfig,
    run_dir: Path | None,
    resume: bool,
    overwrite: bool,
    phases: Phases,
    stop: Stop,
    timeline: Timeline,
    closing: ExitStack,
) -> Ready:
    """Open the data and the run, compile; `closing` closes them."""

    data = config.data
    length, packed = data.sequence_length, data.packing
    model = config.model.resolve(jax.default_backend())
    train = build.resolve_train(config.train, model, jax.default_backend())
    model_config = dataclasses.replace(config.model, dtype=model.dtype)
    config = dataclasses.replace(config, data=data.absolute(), model=model_config)
    if project := config.wandb:
        from_first_process(lambda: require_wandb(project) or "")
    build.check_batch(train, length, model)
    fresh = build.fresh_state(model, train)
    report = Report(config, model)
    if resume and run_dir:
        require_same_run(run_dir, config)
    rows = data.open_rows("train", report=report.say)
    rows.check(model)
    require_same_rows(rows)
    held_out = data.open_rows("held_out", report=report.say) if train.eval_batches else None
    phases.enter("restore" if resume else "start")
    found = find(run_dir, config, rows, report.say) if resume and run_dir else None
    if resume and found is None:
        report.say("no checkpoint was written before the run ended; beginning at step 0")
    first_batch_size = found.first_batch_size if found else train.batch_size
    steps_left(config, place_of(found), first_batch_size)
    build.require_checks(train, deterministic=config.deterministic)
    phases.enter("compile")
    began = time.perf_counter()
    shapes, available = jax.eval_shape(fresh), device_memory()
    besides = besides_state(model, train, length, jax.default_backend(), packed=packed)
    memory = require_room(shapes, available, besides)
    lowered = build.lower_train_step(shapes, train, data.batch_shapes(train.batch_size))
    run = _open_run(config, run_dir, resume, overwrite, phases, closing)
    watched = typed.launched() or not exits.is_program()
    stop.resume_command = None if watched else typed.train(run.path)
    if is_first():
        timeline.open(run.timeline)
    report.begin(run, rows)
    if found is None and (odd := odd_schedule(train.optimizer, train.steps)):
        report.say(odd)
    checkpointer = Checkpointer(run.checkpoints, train.checkpoint, key=signing_key())
    closing.callback(checkpointer.close)
    report.say(memory)
    train_step = lowered.compile()
    seconds = time.perf_counter() - began
    report.say(f"train step compiled in {seconds:.1f} s{compiled_size(train_step, available)}")
    measure = None
    if held_out is not None:
        measure = build.make_evaluate(train, held_out, batches=train.eval_batches)
    return Ready(
        config=config,
        train=train,
        report=report,
        run=run,
        rows=rows,
        fresh=fresh,
        train_step=train_step,
        checks=build.make_checks(train, shapes),
        measure=measure,
        checkpointer=checkpointer,
        found=found,
        first_batch_size=first_batch_size,
        phases=phases,
        stop=stop,
    )


def holds_run(run_dir: Path) -> bool:
    """Whether process 0 finds a run there: another may look when it has just been begun."""
    config = RunDirectory(path=system.local_path("run_dir", run_dir)).config
    return bool(from_first_process(lambda: "yes" if config.is_file() else ""))


def _open_run(
    config: RunConfig,
    run_dir: Path | None,
    resume: bool,
    overwrite: bool,
    phases: Phases,
    closing: ExitStack,
) -> RunDirectory:
    """The run's directory, opened by process 0, which takes that back if the start is refused
    before its first step."""
    taking_back: list[Callable[[], None]] = []

    def made() -> str:
        return str(
            open_run_directory(
                config, path=run_dir, resume=resume, overwrite=overwrite, taking_back=taking_back
            ).path
        )

    def refused(kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UserError) and phases.now.step is None:
            for take_back in taking_back:
                take_back()

    closing.push(refused)
    return RunDirectory(path=Path(from_first_process(made)))


def place_of(found: Found | None) -> Place:
    return found.place if found else Place(step=0, examples=0)


def steps_left(config: RunConfig, place: Place, first_batch_size: int) -> int:
    """Updates still to make; ValueError if more are made already than the config asks for."""
    batch_size = config.train.batch_size
    left = config.train.steps * first_batch_size - place.examples
    if left <= -batch_size:
        least = -(-place.examples // first_batch_size)
        raise UserError(
            f"train.steps={config.train.steps} must be at least {least}, because the run has seen "
            f"the rows of that many already; try --train.steps {2 * least}"
        )
    left = max(0, -(-left // batch_size))
    if config.profile is not None and not place.step <= config.profile[0] < place.step + left:
        start, stop = config.profile
        if left == 0:
            raise UserError(
                f"profile={start} {stop} must be left out, because the run has made its "
                f"{config.train.steps} steps; try without --profile"
            )
        raise UserError(
            f"profile={start} {stop} must begin between step {place.step} and "
            f"{place.step + left - 1}, because only those run; "
            f"try --profile {place.step} {place.step + 3}"
        )
    return left
