"""The command `train`: joins the rooms, runs `fit`, and tells what came of it."""

import dataclasses
import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from launch import runtime
from launch.config import RunConfig, to_dict

if TYPE_CHECKING:
    from launch.resume import Found
    from launch.run_directory import RunDirectory
    from train.checkpoint import Checkpointer
    from train.metrics import Record
    from train.record import Place
    from train.state import TrainState


def train(
    config: RunConfig,
    *,
    run_dir: Path | None = None,
    resume: bool = False,
    resume_or_start: bool = False,
    overwrite: bool = False,
) -> Path:
    """Train as `config` says and return the run directory.

    A new directory under runs/ is made unless `run_dir` is given; one that holds a run is refused
    unless `resume` or `resume_or_start` goes on with it or `overwrite` sets it aside. Nothing is
    written before the config is known to fit the devices and the data. Raises ValueError.
    """
    mesh = runtime.start(
        config.mesh,
        config.distributed,
        cache_dir=config.data.cache_dir,
        deterministic=config.deterministic,
    )
    import jax

    if resume_or_start and run_dir is not None and not resume:
        resume = _holds_run(run_dir)
    with jax.set_mesh(mesh), ExitStack() as closing:
        return _train(config, run_dir, resume, overwrite, closing)


def _train(
    config: RunConfig, run_dir: Path | None, resume: bool, overwrite: bool, closing: ExitStack
) -> Path:
    import jax

    from data.pipeline import open_rows
    from launch import build
    from launch.report import Report
    from launch.resume import find, require_same_rows
    from launch.signing import signing_key
    from train.bad_numbers import Guard
    from train.checkpoint import Checkpointer
    from train.feed import Feed, local_rows
    from train.loop import fit
    from train.profile import Profile
    from train.record import Place, Recorder

    length, packed = config.data.sequence_length, config.data.packing
    model = build.resolve_model(config.model, jax.default_backend())
    train = build.resolve_train(config.train, model, jax.default_backend())
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, dtype=model.dtype))
    build.check_batch(train, length, model)
    fresh = build.fresh_state(model, train)
    shapes = jax.eval_shape(fresh)
    report = Report(config, model)
    rows = open_rows(config.data, "train", report=report.say)
    build.check_vocabulary(model, rows, config.data.tokenizer)
    require_same_rows(rows)
    held_out = open_rows(config.data, "held_out", report=report.say) if train.eval_batches else None
    found = find(run_dir, config, rows, report.say) if resume and run_dir else None
    if resume and found is None:
        report.say("no checkpoint was written before the run ended; beginning at step 0")
    place = found.place if found else Place(step=0, examples=0)
    first_batch_size = found.first_batch_size if found else train.batch_size
    left = _steps_left(config, place, first_batch_size)
    run = _open_run(config, run_dir, resume, overwrite)
    report.begin(run, rows)

    checkpointer = Checkpointer(run.checkpoints, train.checkpoint, key=signing_key())
    closing.callback(checkpointer.close)
    train_step, seconds = build.compile_train_step(shapes, train, length=length, packed=packed)
    report.say(f"train step compiled in {seconds:.1f} s")
    state = _state(found, fresh, checkpointer, config, report.say)
    end = train.steps * first_batch_size
    write = report.open_writers(run, place, place.step + left, closing)
    evaluate = None
    if held_out is not None:
        measure = build.make_evaluate(train, held_out, batches=train.eval_batches, packed=packed)
        evaluate = functools.partial(_evaluate, measure, write)

    feed = Feed(
        rows.batches(place.examples, train.batch_size, local_rows(train.batch_size)),
        start=place.examples,
        batch_size=train.batch_size,
        schedule=build.schedule(train, first_batch_size),
    )
    closing.callback(feed.close)
    meta = {
        "first_batch_size": first_batch_size,
        "data_digest": rows.digest,
        "config": to_dict(config),
        "versions": report.versions,
    }
    guard = Guard(
        train.bad_numbers,
        report.say,
        lambda first, after: f"data rows {first} to {after - 1}",
        found.bad_numbers if found else None,
    )
    profile = Profile(config.profile, run.profile)
    closing.callback(profile.close)
    state, place = fit(
        state,
        place,
        end=end,
        config=train,
        train_step=train_step,
        batches=feed,
        evaluate=evaluate,
        saver=checkpointer,
        meta=meta,
        recorder=Recorder(
            train, report.throughput(length), write, guard, tokens_per_row=length, end=end
        ),
        profile=profile,
    )
    closing.close()
    report.finish(run, state, place, rows.tokenizer)
    return run.path


def _evaluate(
    measure: "Callable[[TrainState], dict[str, float]]",
    write: "Callable[[Record], None]",
    state: "TrainState",
    step: int,
) -> dict[str, float]:
    measured = measure(state)
    write({"step": step, **measured, "time": time.time()})
    return measured


def _holds_run(run_dir: Path) -> bool:
    """Whether process 0 finds a run there: another may look when it has just been begun."""
    from launch.distributed import from_first_process
    from launch.run_directory import RunDirectory

    config = RunDirectory(path=run_dir.expanduser().absolute()).config
    return bool(from_first_process(lambda: "yes" if config.is_file() else ""))


def _open_run(
    config: RunConfig, run_dir: Path | None, resume: bool, overwrite: bool
) -> "RunDirectory":
    from launch.distributed import from_first_process
    from launch.run_directory import RunDirectory, open_run_directory

    def made() -> str:
        found = open_run_directory(config, path=run_dir, resume=resume, overwrite=overwrite)
        return str(found.path)

    return RunDirectory(path=Path(from_first_process(made)))


def _state(
    found: "Found | None",
    fresh: "Callable[[], TrainState]",
    checkpointer: "Checkpointer",
    config: RunConfig,
    say: Callable[[str], None],
) -> "TrainState":
    """The state to go on with: fresh, or as the checkpoint holds it."""
    import jax

    from launch import build

    if found is None:
        return build.make_fresh_state(fresh)
    place, first_batch_size, changed = found.place, found.first_batch_size, found.changed
    state = checkpointer.restore(jax.eval_shape(fresh), place.step)
    say(f"going on from step {place.step}, after {place.examples:,} rows")
    if changed:
        say(f"not bit-equal, because versions changed: {', '.join(changed)}")
    if first_batch_size != config.train.batch_size:
        say(f"steps of the schedule are counted at the first batch size, {first_batch_size}")
    return state


def _steps_left(config: RunConfig, place: "Place", first_batch_size: int) -> int:
    """Updates still to make; ValueError if more are made already than the config asks for."""
    batch_size = config.train.batch_size
    left = config.train.steps * first_batch_size - place.examples
    if left <= -batch_size:
        least = -(-place.examples // first_batch_size)
        raise ValueError(
            f"train.steps={config.train.steps} must be at least {least}, because the run has made "
            f"that many already; try --train.steps {2 * least}"
        )
    left = max(0, -(-left // batch_size))
    if config.profile is not None and not place.step <= config.profile[0] < place.step + left:
        start, stop = config.profile
        raise ValueError(
            f"profile={start} {stop} must begin between step {place.step} and "
            f"{place.step + left - 1}, because only those run; "
            f"try --profile {place.step} {place.step + 3}"
        )
    return left
