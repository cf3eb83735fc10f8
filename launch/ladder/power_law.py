"""The best size as a power law of compute: approaches 1 and 2 of Hoffmann et al. 2022.

A parabola for each budget is not exact on the surface of approach 3: over sizes from a tenth to ten
times the optimum the size it gives at a hundred times the compute is 4 % off, over a third to three
1 %.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.polynomial.polynomial import polyfit
from scipy.interpolate import PchipInterpolator

from data.errors import UserError
from launch.ladder.runs import Budget, Cost, Table, budgets
from launch.ladder.surface import exponential

MIN_SIZES, MIN_BUDGETS = 4, 3
"""Of parabolas."""
POINTS = 1500
"""Computes, evenly spaced in logarithm, at which the lowest curve is looked for; the paper's."""
MIN_CURVES, MIN_OF_CURVE = 4, 3
"""Of an envelope."""


class Unfit(UserError):
    """Runs that do not show what is asked of them; the message is the reason, `rows` are the runs
    that it concerns, if it is not all."""

    def __init__(self, reason: str, rows: np.ndarray | None = None) -> None:
        super().__init__(reason)
        self.rows = () if rows is None else tuple(map(int, rows))


class PowerLaw(NamedTuple):
    """size = exp(log_factor) * compute ** exponent."""

    log_factor: float
    exponent: float

    def optimal_params(self, flops: float, cost: Cost | None = None) -> float:
        """The size of the lowest loss at that compute, whatever it buys."""
        return exponential(self.log_factor + self.exponent * math.log(flops))


def fit_parabolas(runs: Table, near: PowerLaw | None = None) -> PowerLaw:
    """The power law through the vertices of a parabola for each budget.

    Unfit if a budget does not show its best size; of runs that are drawn about those of the law
    `near`, a vertex may lie beyond the sizes tried.
    """
    groups = budgets(runs.flops)
    short = [budget for budget in groups if sizes_of(runs, budget) < MIN_SIZES]
    if short:
        others = f", and {len(short) - 1} of {len(groups)} budgets more have too few"
        raise Unfit(
            f"the budget of {short[0].flops:.3g} FLOPs has {sizes_of(runs, short[0])} of the "
            f"{MIN_SIZES} sizes that a parabola and a check of it need"
            + (others if len(short) > 1 else ""),
            short[0].rows,
        )
    if len(groups) < MIN_BUDGETS:
        raise Unfit(f"there are {len(groups)} of the {MIN_BUDGETS} budgets that a power law needs")
    vertices = [valley(runs, budget, inside=near is None) for budget in groups]
    return _through(np.log([budget.flops for budget in groups]), np.array(vertices))


def sizes_of(runs: Table, budget: Budget) -> int:
    """How many sizes share a budget."""
    return len(np.unique(runs.params[budget.rows]))


def valley(runs: Table, budget: Budget, *, inside: bool = True) -> float:
    """Logarithm of the budget's best size; Unfit if the parabola of loss over log size has none, or
    if it must lie `inside` the sizes and does not."""
    log_params = np.log(runs.params[budget.rows])
    middle = log_params.mean()
    _, slope, curvature = polyfit(log_params - middle, runs.loss[budget.rows], 2)
    vertex = float(middle - slope / (2 * curvature))
    if curvature <= 0:
        raise Unfit(
            f"the parabola of the budget of {budget.flops:.3g} FLOPs opens downwards", budget.rows
        )
    if inside and not log_params.min() < vertex < log_params.max():
        side = "smallest" if vertex <= log_params.min() else "largest"
        raise Unfit(
            f"the budget of {budget.flops:.3g} FLOPs does not bracket its best size: the lowest "
            f"loss lies beyond the {side} of its sizes",
            budget.rows,
        )
    return vertex


def fit_envelope(runs: Table, near: PowerLaw | None = None) -> PowerLaw:
    """The power law of the size whose curve of loss over compute is lowest; Unfit without sizes
    that were trained for several numbers of tokens.

    A size is taken for best only where a smaller and a larger one were tried at the same compute.
    """
    curves = {
        size: rows
        for size in np.unique(runs.params)
        if len(np.unique(runs.flops[rows := np.flatnonzero(runs.params == size)])) >= MIN_OF_CURVE
    }
    if len(curves) < MIN_CURVES:
        raise Unfit(
            f"{len(curves)} sizes were trained for {MIN_OF_CURVE} or more numbers of tokens, and "
            f"an envelope needs {MIN_CURVES} such sizes"
        )
    computes = np.geomspace(runs.flops.min(), runs.flops.max(), POINTS)
    losses = np.array([_curve(runs.take(rows), computes) for rows in curves.values()])
    known, sizes = np.isfinite(losses), np.array(list(curves))
    best = np.where(known, losses, np.inf).argmin(axis=0)
    places = np.arange(len(sizes))[:, None]
    inside = (known & (places < best)).any(axis=0) & (known & (places > best)).any(axis=0)
    if len(np.unique(best[inside])) < MIN_OF_CURVE:
        raise Unfit("nearly everywhere the smallest or the largest size has the lowest curve")
    return _through(np.log(computes[inside]), np.log(sizes[best[inside]]))


def _curve(runs: Table, computes: np.ndarray) -> np.ndarray:
    """Mean loss of one size over compute; NaN outside of what it was trained for."""
    flops, place = np.unique(runs.flops, return_inverse=True)
    loss = np.bincount(place, runs.loss) / np.bincount(place)
    return PchipInterpolator(np.log(flops), loss, extrapolate=False)(np.log(computes))


def _through(log_flops: np.ndarray, log_params: np.ndarray) -> PowerLaw:
    """Least squares in logarithms."""
    middle = log_flops.mean()
    constant, slope = polyfit(log_flops - middle, log_params, 1)
    return PowerLaw(float(constant - slope * middle), float(slope))
