"""Losses that a law predicts of runs it was not fitted to, and what these came to."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from launch.ladder.interval import Estimated, students
from launch.ladder.runs import Table, budgets, cells
from launch.ladder.surface import MIN_CELLS, NOISE, Surface, fit_squares

EXTRAPOLATION = "EXTRAPOLATION OF A LAW THAT FAILED ITS BACKTEST"


class Backtest(NamedTuple):
    """A mean loss that is predicted of runs, and what it came to."""

    name: str
    runs: int
    """Of so many runs it is the mean."""
    flops: float
    predicted: Estimated
    losses: Sequence[float]
    """Of those that are done, if they differ by seed alone."""
    measured: float | None
    """The mean of all; None until all are done."""
    lever: float
    """Of their compute; see `lever`."""

    @property
    def off(self) -> float:
        """Share by which the predicted loss lies above the measured one."""
        assert self.measured is not None
        return self.predicted.value / self.measured - 1

    @property
    def failed(self) -> bool:
        """Whether the measured loss lies outside of the interval that was predicted for it."""
        return self.measured is not None and not self.predicted.holds(self.measured)

    @property
    def where(self) -> str:
        """Where the measured loss lies, of the interval."""
        return "OUTSIDE" if self.failed else "inside"

    @property
    def warning(self) -> str:
        """What is said of one that failed."""
        return (
            f"FAILED BACKTEST: {self.name}: predicted {self.predicted.value:.4f} "
            f"({self.predicted.ends()}), measured {self.measured:.4f}, {self.off:+.2%} off. "
            "Intervals of forecasts are widened by as much, and by more the farther they lie from "
            "the computes tried."
        )


def lever(flops: float, known: np.ndarray) -> float:
    """How far a compute lies from the middle of those that a law was fitted to, in logarithms; at
    least a doubling. A law that bends is off by the square of it."""
    return max(math.log(2), math.log(flops) - float(np.log(known).mean()))


def without_largest(runs: Table) -> Backtest | None:
    """The runs of the largest compute, predicted by a fit of those below it; None if these are too
    few."""
    largest = budgets(runs.flops)[-1]
    others, asked = runs.without(largest.rows), runs.take(largest.rows)
    free = len(cells(others)) - len(Surface._fields)
    if len(cells(others)) < MIN_CELLS:
        return None
    surface = fit_squares(others)
    value = float(surface.loss(asked.params, asked.tokens).mean())
    half = students(free) * prediction_error(others, surface, asked)
    return Backtest(
        "the largest compute, left out",
        len(largest.rows),
        largest.flops,
        Estimated(value, value - half, value + half),
        [],
        float(asked.loss.mean()),
        lever(float(asked.flops.max()), others.flops),
    )


def spread(residual: np.ndarray) -> float:
    """Standard deviation by the median of the residuals' sizes, without the smallest five: the
    surface has five constants, so that it goes through as many runs or nearly so. At least NOISE.
    """
    sizes = np.sort(np.abs(residual))[len(Surface._fields) :]
    return max(NOISE, float(1.4826 * np.median(sizes)))


def prediction_error(known: Table, surface: Surface, asked: Table) -> float:
    """Standard error of the mean loss predicted for those asked, noise of these included."""
    sigma = spread(known.loss - surface.loss(known.params, known.tokens))
    slopes, mean = _slopes(surface, known), _slopes(surface, asked).mean(axis=0)
    solved = np.linalg.lstsq(slopes.T @ slopes, mean, rcond=None)[0]
    return float(sigma * np.sqrt(mean @ solved + 1 / len(asked.loss)))


def _slopes(surface: Surface, runs: Table) -> np.ndarray:
    """Of the loss by each constant, the factors by their logarithms: (runs, 5)."""
    of_params = surface.of_params * runs.params**-surface.alpha
    of_tokens = surface.of_tokens * runs.tokens**-surface.beta
    return np.stack(
        [
            np.ones_like(of_params),
            of_params,
            of_tokens,
            -of_params * np.log(runs.params),
            -of_tokens * np.log(runs.tokens),
        ],
        axis=1,
    )
