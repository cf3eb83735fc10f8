"""95 % intervals: what the fit would have given, had the runs come out otherwise."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm, t

from launch.ladder.runs import Table, cells
from launch.ladder.surface import Surface, exponential

LEVEL = 0.95
TAIL = (1 + LEVEL) / 2
DRAWS = 300


def four(value: float) -> str:
    """A loss in nats a token, to what runs of one cell agree in."""
    return f"{value:.4f}"


class Estimated(NamedTuple):
    """A value and the 95 % interval about it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"

    def ends(self, digits: Callable[[float], str] = four) -> str:
        """The interval alone."""
        return f"{digits(self.low)} to {digits(self.high)}"

    def holds(self, value: float) -> bool:
        """Whether a value lies inside."""
        return self.low <= value <= self.high

    def stretched(self, by: float) -> "Estimated":
        """Its interval, so many times as wide, in logarithms where all is positive."""
        value, low, high = self
        if low > 0:
            return Estimated(value, value * (low / value) ** by, value * (high / value) ** by)
        return Estimated(value, value - by * (value - low), value + by * (high - value))


def students(free: int) -> float:
    """Student's t of the level, both tails left out."""
    return float(t.ppf(TAIL, free))


def redrawn(runs: Table, surface: Surface, seed: int = 0) -> np.ndarray:
    """Other losses of the same sizes and tokens, (DRAWS, runs): the surface's, and residuals drawn
    with replacement: those of one cell's seeds together, as they may be off by the same."""
    groups, chance = cells(runs), np.random.default_rng(seed)
    predicted = surface.loss(runs.params, runs.tokens)
    residuals = [(runs.loss - predicted)[rows] for rows in groups]
    losses = np.tile(predicted, (DRAWS, 1))
    for loss in losses:
        for rows, drawn in zip(groups, chance.integers(len(groups), size=len(groups)), strict=True):
            loss[rows] += np.resize(chance.permutation(residuals[drawn]), len(rows))
    return losses


def about(value: float, draws: np.ndarray, free: int) -> Estimated:
    """The interval of a value, in logarithms where all is positive: the farther quantile of the
    draws to both sides, as these lean to where the truth is not; stretched, as residuals of few
    cells are smaller than the noise and known badly (Student's t). `free` is the number of cells
    that are left free by the surface's constants."""
    in_logs = value > 0 and bool((draws > 0).all())
    middle, draws = (math.log(value), np.log(draws)) if in_logs else (value, draws)
    low, high = (float(np.quantile(draws, share)) for share in (1 - TAIL, TAIL))
    cells = free + len(Surface._fields)
    stretch = students(free) / float(norm.ppf(TAIL)) * math.sqrt(cells / free)
    half = stretch * max(middle - low, high - middle)
    ends = middle - half, middle + half
    return Estimated(value, *(map(exponential, ends) if in_logs else ends))


def plain(value: Any) -> Any:
    """A NamedTuple, of NamedTuples too, as dictionaries for JSON."""
    if not hasattr(value, "_asdict"):
        return value
    return {name: plain(part) for name, part in value._asdict().items()}
