"""Evaluating a run: the measures of a checkpoint on its held-out rows."""

import dataclasses
from pathlib import Path

from launch.config import DistributedConfig, MeshConfig, RunConfig
from launch.run import build
from launch.run.resume import require_rows, require_same_rows
from launch.run.saved import MovedData, is_pretrained, open_saved
from model.sharding import axis_size


def evaluate(
    run: Path,
    *,
    config: RunConfig | None = None,
    step: int | None = None,
    batches: int | None = None,
    data: MovedData = MovedData(),  # noqa: B008 - frozen
    mesh: MeshConfig = MeshConfig(),  # noqa: B008
    distributed: DistributedConfig | None = None,
) -> tuple[int, dict[str, float]]:
    """The step and the measures (`eval_loss` in nats a target, and those of its kind of rows) of a
    checkpoint, by default the latest, on at most `batches` batches of held-out rows, else on all.

    A pretrained checkpoint in place of a run has any rows. `config` must be that of the run if
    parts of it are of classes from elsewhere. Raises ValueError when there is no such run, or its
    data are others.
    """
    with open_saved(run, step, mesh, data, distributed, like=config) as saved:
        rows = saved.config.data.open_rows("held_out")
        require_same_rows(rows)
        if not is_pretrained(run):
            require_rows(rows, saved.config.data, saved.meta, f"step {saved.step} of {run}")
        shards = axis_size("batch")
        batch_size = -(-saved.config.train.batch_size // shards) * shards
        train = dataclasses.replace(saved.config.train, batch_size=batch_size)
        measure = build.Evaluator(train, rows, batches=batches)
        return saved.step, measure(saved.state)
