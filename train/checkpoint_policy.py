"""When a checkpoint is due, and which ones are kept."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils

from train.config import CheckpointConfig


def kept_steps(
    steps: Sequence[int], losses: Mapping[int, float], config: CheckpointConfig
) -> set[int]:
    """The steps that stay: the latest, the multiples of `keep_every`, the best by loss."""
    keep = set(sorted(steps)[-config.keep_latest :])
    if config.keep_every is not None:
        keep |= {step for step in steps if step % config.keep_every == 0}
    rated = [step for step in steps if not math.isnan(losses.get(step, math.nan))]
    return keep | set(sorted(rated, key=lambda step: losses[step])[: config.keep_best])


class _Checkpoint(Protocol):
    step: int


class Retention:
    """`kept_steps` in the shape Orbax asks for."""

    def __init__(self, config: CheckpointConfig, losses: Mapping[int, float]) -> None:
        self._config, self._losses = config, losses

    def should_preserve(self, checkpoints: Sequence[_Checkpoint], *, context: object) -> list[bool]:
        """Of each checkpoint, whether it stays."""
        del context
        keep = kept_steps([c.step for c in checkpoints], self._losses, self._config)
        return [c.step in keep for c in checkpoints]


class Due:
    """Says when a checkpoint is due, the same on every process.

    Steps are counted alike everywhere, clocks are not: process 0's clock decides. So that not every
    step waits for its word, the processes ask again only when half of the steps are done that
    remain at the pace so far.
    """

    def __init__(self, config: CheckpointConfig) -> None:
        self._steps = config.every_steps
        self._seconds = None if config.every_minutes is None else 60 * config.every_minutes
        self._first: tuple[int, float] | None = None
        self._ask = 0

    def restart(self, step: int, now: float) -> None:
        """Count time from `now`, when `step` was saved or the run began."""
        self._first, self._ask = (step, now), step + 1

    def at(self, step: int, now: float) -> bool:
        """Whether `step`, which ended at `now` by this process's clock, is to be saved."""
        by_steps = self._steps is not None and step % self._steps == 0
        return self._by_time(step, now) or by_steps

    def _by_time(self, step: int, now: float) -> bool:
        if self._seconds is None:
            return False
        if self._first is None:
            self.restart(step, now)
            return False
        if step < self._ask:
            return False
        first, began = self._first
        elapsed = now - began
        if jax.process_count() > 1:
            elapsed = float(multihost_utils.broadcast_one_to_all(np.float32(elapsed)))
        done = step - first
        left = (self._seconds - elapsed) / max(elapsed, 1e-3) * done
        self._ask = step + max(1, int(min(left, done) / 2))
        return elapsed >= self._seconds
