"""The command `train`: joins the rooms, runs `fit`, and tells what came of it."""

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from launch import runtime
from launch.config import RunConfig, to_dict

if TYPE_CHECKING:
    from data.pipeline import Rows
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
    overwrite: bool = False,
) -> Path:
    """Train as `config` says and return the run directory.

    A new directory under runs/ is made unless `run_dir` is given; one that holds a run is refused
    unless `resume` goes on with it or `overwrite` sets it aside. Nothing is written before the
    config is known to fit the devices and the data. Raises ValueError.
    """
    mesh = runtime.start(
        config.mesh,
        config.distributed,
        cache_dir=config.data.cache_dir,
        deterministic=config.deterministic,
    )
    import jax

    with jax.set_mesh(mesh), ExitStack() as closing:
        return _train(config, run_dir, resume, overwrite, closing)


def _train(
    config: RunConfig, run_dir: Path | None, resume: bool, overwrite: bool, closing: ExitStack
) -> Path:
    import jax

    from data.pipeline import open_rows
    from launch import build
    from launch.report import Report
    from train.checkpoint import Checkpointer
    from train.feed import Feed, local_rows
    from train.loop import fit
    from train.profile import Profile
    from train.record import Recorder

    length, packed = config.data.sequence_length, config.data.packing
    model = build.resolve_model(config.model, jax.default_backend())
    train = build.resolve_train(config.train, model, jax.default_backend())
    build.check_batch(train, length, model)
    fresh = build.fresh_state(model, train)
    shapes = jax.eval_shape(fresh)
    report = Report(config, model)
    rows = open_rows(config.data, "train", report=report.say)
    build.check_vocabulary(model, rows, config.data.tokenizer)
    _require_same_rows(rows)
    held_out = open_rows(config.data, "held_out", report=report.say) if train.eval_batches else None
    run = _open_run(config, run_dir, resume, overwrite)
    report.begin(run, rows)

    checkpointer = Checkpointer(run.checkpoints, train.checkpoint)
    closing.callback(checkpointer.close)
    train_step, seconds = build.compile_train_step(shapes, train, length=length, packed=packed)
    report.say(f"train step compiled in {seconds:.1f} s")
    state, place, first_batch_size = _start(config, fresh, checkpointer, rows, resume, report.say)
    end = train.steps * first_batch_size
    write = report.open_writers(run, place, end, closing)
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
            train, report.throughput(length), write, report.say, tokens_per_row=length, end=end
        ),
        profile=Profile(config.profile, run.profile),
    )
    closing.close()
    report.finish(run, state, place, rows.tokenizer)
    return run.path


def _require_same_rows(rows: "Rows") -> None:
    """Raise ValueError on every process if they did not all find the same data."""
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return
    own = np.frombuffer(bytes.fromhex(rows.digest), np.uint8)
    found = [bytes(row).hex()[:16] for row in multihost_utils.process_allgather(own)]
    if len(set(found)) > 1:
        raise ValueError(
            f"data digests={', '.join(found)} of the processes must be equal, because they read "
            "parts of the same rows; try the same files and the same Python on every host, or a "
            "--data.cache-dir that they share"
        )


def _evaluate(
    measure: "Callable[[TrainState], dict[str, float]]",
    write: "Callable[[Record], None]",
    state: "TrainState",
    step: int,
) -> dict[str, float]:
    measured = measure(state)
    write({"step": step, **measured, "time": time.time()})
    return measured


def _open_run(
    config: RunConfig, run_dir: Path | None, resume: bool, overwrite: bool
) -> "RunDirectory":
    from launch.distributed import from_first_process
    from launch.run_directory import RunDirectory, open_run_directory

    def made() -> str:
        found = open_run_directory(config, path=run_dir, resume=resume, overwrite=overwrite)
        return str(found.path)

    return RunDirectory(path=Path(from_first_process(made)))


def _start(
    config: RunConfig,
    fresh: "Callable[[], TrainState]",
    checkpointer: "Checkpointer",
    rows: "Rows",
    resume: bool,
    say: Callable[[str], None],
) -> tuple["TrainState", "Place", int]:
    """State, place and the batch size that steps are counted in: fresh, or as the last checkpoint
    left them."""
    import jax

    from launch import build
    from train.record import Place

    step = checkpointer.latest_step() if resume else None
    if step is None:
        if resume:
            say("no checkpoint was written before the run ended; beginning at step 0")
        state = build.make_fresh_state(fresh)
        return state, Place(step=0, examples=0), config.train.batch_size
    meta = checkpointer.read_meta(step)
    if meta["data_digest"] != rows.digest:
        raise ValueError(
            f"data digest={rows.digest[:16]} must be {meta['data_digest'][:16]}, because step "
            f"{step} of {checkpointer.directory} was trained on those rows and the next one would "
            "not follow; "
            "try the files, tokenizer and --data settings it was made with, or a new run"
        )
    state = checkpointer.restore(jax.eval_shape(fresh), step)
    place = Place(step=step, examples=meta["examples_seen"])
    say(f"going on from step {step}, after {place.examples:,} rows")
    if meta["first_batch_size"] != config.train.batch_size:
        say(
            f"steps of the schedule are counted at the first batch size, {meta['first_batch_size']}"
        )
    return state, place, meta["first_batch_size"]
