"""The run directories of a cell, `runs/N` for its claim N, and the result of the last.

Each claim has one of its own, which begins with what the claims before it saved: a worker that was
silent loses its cell without knowing, and its training may go on writing for a while.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data import durable
from launch.ladder.cells import Cell, predecessor
from launch.ladder.directory import StudyDirectory, number_of
from launch.run.saved import open_run
from train.checkpoint.folder import CheckpointFolder
from train.report.writers import read_jsonl

RECORDS = ("config.yaml", "environment.json", "metrics.jsonl", "timeline.jsonl")


def begin(study: StudyDirectory, cell: Cell, claim: int) -> Path:
    """The run directory of a claim, made if need be from the checkpoints of the claim before.

    Where there are none it begins with the one that the next shorter cell left where the two part:
    the run is then, bit by bit, the one it would be from the beginning. Raises OSError.
    """
    run = study.of(cell) / "runs" / str(claim)
    if not run.is_dir():
        earlier = [path for path in study.runs_of(cell) if number_of(path) < claim]
        before = predecessor(cell, study.cells)
        if earlier and (steps := _checkpoints(earlier[-1]).steps()):
            _copy(earlier[-1], steps, run, [*RECORDS, "wandb.json"])
        elif before and before.branching in _checkpoints(study.run_of(before)).steps():
            _copy(study.run_of(before), [before.branching], run, RECORDS)
            print(f"{cell.name}: begins with step {before.branching} of {before.name}", flush=True)
    # A training that still writes there fails, which is as well.
    for path in run.parent.glob("[0-9]*"):
        if number_of(path) < claim:
            shutil.rmtree(path, ignore_errors=True)
    return run


def newest_step(study: StudyDirectory, cell: Cell, claim: int) -> int:
    """The newest checkpoint of a claim's run, 0 if there is none."""
    return max(_checkpoints(study.of(cell) / "runs" / str(claim)).steps(), default=0)


def result_of(study: StudyDirectory, cell: Cell, claim: int) -> dict[str, Any]:
    """What a finished cell came to: nothing in it depends on when or where it was trained, or how
    often it was stopped."""
    run = open_run(study.of(cell) / "runs" / str(claim))
    records = read_jsonl(run.directory.metrics)
    every = cell.config.train.log_every  # a resumed run also records its first step
    losses = [[r["step"], r["loss"]] for r in records if "loss" in r and r["step"] % every == 0]
    return {
        "name": cell.name,
        "digest": cell.digest,
        "width": cell.width,
        "seed": cell.seed,
        "held_out": cell.held_out,
        "parameters": cell.parameters,
        "parameters_without_embeddings": cell.parameters_without_embeddings,
        "flops_per_token": cell.flops_per_token,
        "steps": cell.config.train.steps,
        "tokens": cell.tokens,
        "unique_tokens": _unique(cell),
        "flops": cell.flops,
        "loss": records[-1]["eval_loss"],
        "dtype": run.config.model.dtype,
        "data_digest": run.checkpoints.meta(cell.config.train.steps)["data_digest"],
        "course": hashlib.sha256(json.dumps(losses).encode()).hexdigest(),
    }


def _unique(cell: Cell) -> int | None:
    """Tokens of text that it was trained on, each counted once; None if sources have weights, as
    each is then repeated by itself."""
    from data.rows.tokens import open_windows

    data = cell.config.data
    return None if data.weights else open_windows(data, "train").num_tokens


def _checkpoints(run: Path) -> CheckpointFolder:
    return CheckpointFolder(run / "checkpoints")


def _copy(source: Path, steps: list[int], run: Path, records: Sequence[str]) -> None:
    """Copy checkpoints of a run, and its records, so that `run` is there whole and on the disk, or
    not at all."""
    made = run.with_name(f"{run.name}.partial")
    shutil.rmtree(made, ignore_errors=True)
    for step in steps:
        shutil.copytree(_checkpoints(source).of(step), _checkpoints(made).of(step))
    for name in records:
        if (source / name).is_file():
            shutil.copy(source / name, made)
    for path in [*made.rglob("*"), made]:
        durable.sync(path)
    made.rename(run)
    durable.sync(run.parent)
