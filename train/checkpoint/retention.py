"""Which checkpoints are kept. Imports no jax."""

import math
from collections.abc import Iterable, Mapping

from train.config import CheckpointConfig


def kept_steps(
    steps: Iterable[int], losses: Mapping[int, float], config: CheckpointConfig
) -> set[int]:
    """The steps that stay: the latest, `at_steps`, multiples of `keep_every`, the best by loss."""
    steps = sorted(steps)
    keep = set(steps[-config.keep_latest :]) | set(steps) & set(config.at_steps)
    if config.keep_every is not None:
        keep |= {step for step in steps if step % config.keep_every == 0}
    rated = [step for step in steps if not math.isnan(losses.get(step, math.nan))]
    return keep | set(sorted(rated, key=lambda step: losses[step])[: config.keep_best])
