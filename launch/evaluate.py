"""The command `evaluate`: loss, perplexity and bits per byte of a checkpoint on its held-out
rows."""

import jax

from data.pipeline import open_rows
from launch import build
from launch.options import EvaluateOptions
from launch.saved import open_saved
from train.console import describe_evaluation


def evaluate(options: EvaluateOptions) -> None:
    """Print the measures of one checkpoint, by default over every held-out row."""
    with open_saved(options.run, options.step, options.mesh, options.distributed) as saved:
        config = saved.config
        held_out = open_rows(config.data, "held_out")
        measure = build.make_evaluate(
            config.train, held_out, batches=options.batches, packed=config.data.packing
        )
        measured = measure(saved.state)
        if jax.process_index() == 0:
            print(f"step {saved.step}  {describe_evaluation(measured)}")
