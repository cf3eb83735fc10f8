"""Evaluating a run: the measures of a checkpoint on its held-out rows."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from launch.config import DistributedConfig, MeshConfig, RunConfig
from launch.run import build
from launch.run.resume import require_rows, require_same_rows
from launch.run.saved import MovedData, is_pretrained, open_saved
from launch.run.written_texts import of_written, require_unwritten, require_written
from model.beams import Beams
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
    texts: Sequence[str] = (),
    beams: Beams | None = None,
    tokens: int | None = None,
) -> tuple[int, dict[str, float]]:
    """The step and the measures (`eval_loss` in nats a target, and those of its kind of rows) of a
    checkpoint, by default the latest, on at most `batches` batches of held-out rows, else on all.

    An encoder-decoder can be measured by what it writes of held-out sources, too: `texts` are names
    of `data.text_scores.MEASURES`, of the pairs of the same rows; it writes at most `tokens`, by
    default as many as a row of targets has, the likeliest each time or the best that `beams` find.

    A pretrained checkpoint in place of a run has any rows. `config` must be that of the run if
    parts of it are of classes from elsewhere. Raises ValueError when there is no such run, or its
    data are others.
    """
    if not texts:
        require_unwritten(beams, tokens)
    with open_saved(run, step, mesh, data, distributed, like=config) as saved:
        rows = saved.config.data.open_rows("held_out")
        require_same_rows(rows)
        if not is_pretrained(run):
            require_rows(rows, saved.config.data, saved.meta, f"step {saved.step} of {run}")
        if texts:
            require_written(run, saved, texts)
        shards = axis_size("batch")
        batch_size = -(-saved.config.train.batch_size // shards) * shards
        train = dataclasses.replace(saved.config.train, batch_size=batch_size)
        measure = build.Evaluator(train, rows, batches=batches)
        values = measure(saved.state)
        if texts:
            count = None if batches is None else batches * batch_size
            values |= of_written(saved, rows, texts, count, beams=beams, tokens=tokens)
        return saved.step, values
