"""The command `evaluate`: loss, perplexity and bits per byte of a checkpoint on its held-out
rows."""

import dataclasses

import jax

from launch import build
from launch.options import EvaluateOptions
from launch.resume import require_rows, require_same_rows
from launch.saved import open_saved
from model.sharding import axis_size
from train.console import describe_evaluation


def evaluate(options: EvaluateOptions) -> None:
    """Print the measures of one checkpoint, by default over every held-out row."""
    with open_saved(
        options.run, options.step, options.mesh, options.data, options.distributed
    ) as saved:
        config = saved.config
        held_out = config.data.open_rows("held_out")
        require_same_rows(held_out)
        require_rows(held_out, config.data, saved.meta, f"step {saved.step} of {options.run}")
        shards = axis_size("batch")
        batch_size = -(-config.train.batch_size // shards) * shards
        measure = build.make_evaluate(
            dataclasses.replace(config.train, batch_size=batch_size),
            held_out,
            batches=options.batches,
        )
        measured = measure(saved.state)
        if jax.process_index() == 0:
            print(f"step {saved.step}  {describe_evaluation(measured)}")
