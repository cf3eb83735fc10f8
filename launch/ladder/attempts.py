"""The run directories of a cell, `runs/N` for its claim N.

Each claim has one of its own, which begins with what the claims before it saved: a worker that was
silent loses its cell without knowing, and its training may go on writing for a while.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from data import durable
from launch.ladder.cells import Cell, predecessor
from launch.ladder.directory import StudyDirectory, number_of
from train.checkpoint.folder import CheckpointFolder

RECORDS = ("config.yaml", "environment.json", "metrics.jsonl", "timeline.jsonl")


def begin(study: StudyDirectory, cell: Cell, claim: int) -> Path:
    """The run directory of a claim, copied if need be from the checkpoints of the claim before.

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


def _checkpoints(run: Path) -> CheckpointFolder:
    return CheckpointFolder(run / "checkpoints")


def _copy(source: Path, steps: list[int], run: Path, records: Sequence[str]) -> None:
    """Copy checkpoints of a run, and its records, so that `run` is there whole and on the disk, or
    not at all."""
    partial = run.with_name(f"{run.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for step in steps:
        shutil.copytree(_checkpoints(source).of(step), _checkpoints(partial).of(step))
    for name in records:
        if (source / name).is_file():
            shutil.copy(source / name, partial)
    for path in [*partial.rglob("*"), partial]:
        durable.sync(path)
    partial.rename(run)
    durable.sync(run.parent)
