"""95 % intervals: what the fit would have told, had the runs come out otherwise."""

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import norm, t

from launch.ladder.runs import Table, cells
from launch.ladder.surface import Surface, exponential

LEVEL = 0.95
DRAWS = 300


class Estimate(NamedTuple):
    """A value and the 95 % interval about it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def redrawn(runs: Table, surface: Surface, seed: int = 0) -> np.ndarray:
    """Other losses of the same sizes and tokens, (DRAWS, runs): the surface's, and residuals drawn
    with replacement: those of one cell's seeds together, as they may be off by the same."""
    groups, chance = cells(runs), np.random.default_rng(seed)
    foretold = surface.loss(runs.params, runs.tokens)
    residuals = [(runs.loss - foretold)[rows] for rows in groups]
    losses = np.tile(foretold, (DRAWS, 1))
    for loss in losses:
        for rows, drawn in zip(groups, chance.integers(len(groups), size=len(groups)), strict=True):
            loss[rows] += np.resize(chance.permutation(residuals[drawn]), len(rows))
    return losses


def about(value: float, draws: np.ndarray, free: int) -> Estimate:
    """The interval of a value, in logarithms where all is positive: the farther quantile of the
    draws to both sides, as these lean to where the truth is not; stretched, as residuals of few
    cells are smaller than the noise and known badly (Student's t). `free` is the number of cells
    that are left free by the surface's constants."""
    if value > 0 and (draws > 0).all():
        _, low, high = _about(math.log(value), np.log(draws), free)
        return Estimate(value, exponential(low), exponential(high))
    return _about(value, draws, free)


def stretched(estimate: Estimate, by: float) -> Estimate:
    """Its interval made so many times as wide, in logarithms where all is positive."""
    value, low, high = estimate
    if low > 0:
        return Estimate(value, value * (low / value) ** by, value * (high / value) ** by)
    return Estimate(value, value - by * (value - low), value + by * (high - value))


def _about(value: float, draws: np.ndarray, free: int) -> Estimate:
    tail = (1 + LEVEL) / 2
    cells = free + len(Surface._fields)
    stretch = float(t.ppf(tail, free) / norm.ppf(tail)) * math.sqrt(cells / free)
    low, high = (float(np.quantile(draws, share)) for share in (1 - tail, tail))
    half = stretch * max(value - low, high - value)
    return Estimate(value, value - half, value + half)
