"""Approach 2 of Hoffmann et al. 2022: a parabola for each budget, a power law through its vertices.

On the surface of approach 3 a parabola is not exact: over sizes from a tenth to ten times the
optimum the size it gives at a hundred times the compute is 4 % off, over a third to three 1 %.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.polynomial.polynomial import polyfit

from data.errors import UserError
from launch.ladder.runs import Budget, Cost, Table, budgets
from launch.ladder.surface import exponential

LEAST_SIZES, LEAST_BUDGETS = 4, 3


class Unfit(UserError):
    """Runs that do not tell what is asked of them; the message is the reason, `rows` are the runs
    that it concerns, if it is not all."""

    def __init__(self, reason: str, rows: np.ndarray | None = None) -> None:
        super().__init__(reason)
        self.rows = () if rows is None else tuple(map(int, rows))


class PowerLaw(NamedTuple):
    """size = exp(log_factor) * compute ** exponent."""

    log_factor: float
    exponent: float

    def optimal_params(self, flops: float, cost: Cost | None = None) -> float:
        """The size of least loss at that compute, whatever it buys."""
        return exponential(self.log_factor + self.exponent * math.log(flops))


def fit_isoflop(runs: Table) -> PowerLaw:
    """The power law of the best size; Unfit if a budget does not show its best size."""
    found = several(runs)
    places = [valley(runs, budget) for budget in found]
    return _through(found, np.array([places]))[0]


def refit_isoflop(runs: Table, losses: np.ndarray, _: PowerLaw) -> list[PowerLaw]:
    """The same for other losses of these runs, (fits, runs); those with a parabola that opens
    downwards are left out. The best size may lie beyond those tried."""
    found = several(runs)
    parabolas = [_parabola(runs, budget, losses) for budget in found]
    upwards = np.all([curvature > 0 for _, curvature in parabolas], axis=0)
    places = np.stack([vertex for vertex, _ in parabolas], axis=1)
    return _through(found, places[upwards])


def several(runs: Table) -> list[Budget]:
    """The budgets, each with several sizes; Unfit if one has too few, or they are too few."""
    found = budgets(runs.flops)
    short = [budget for budget in found if sizes_of(runs, budget) < LEAST_SIZES]
    if short:
        others = f", and {len(short) - 1} of {len(found)} budgets more have too few"
        raise Unfit(
            f"the budget of {short[0].flops:.3g} FLOPs has {sizes_of(runs, short[0])} of the "
            f"{LEAST_SIZES} sizes that a parabola and a check of it need"
            + (others if len(short) > 1 else ""),
            short[0].rows,
        )
    if len(found) < LEAST_BUDGETS:
        raise Unfit(f"there are {len(found)} of the {LEAST_BUDGETS} budgets that a power law needs")
    return found


def sizes_of(runs: Table, budget: Budget) -> int:
    """How many sizes share a budget."""
    return len(np.unique(runs.params[budget.rows]))


def valley(runs: Table, budget: Budget) -> float:
    """Logarithm of the budget's best size; Unfit if the parabola of loss over log size has none, or
    none between the sizes."""
    (vertex,), (curvature,) = _parabola(runs, budget, runs.loss[None])
    log_params = np.log(runs.params[budget.rows])
    if curvature <= 0:
        raise Unfit(
            f"the parabola of the budget of {budget.flops:.3g} FLOPs opens downwards", budget.rows
        )
    if not log_params.min() < vertex < log_params.max():
        side = "smallest" if vertex <= log_params.min() else "largest"
        raise Unfit(
            f"the budget of {budget.flops:.3g} FLOPs does not bracket its best size: the least "
            f"loss lies beyond the {side} of its sizes",
            budget.rows,
        )
    return vertex


def _parabola(runs: Table, budget: Budget, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log size of the vertex and the curvature, for every row of losses."""
    log_params = np.log(runs.params[budget.rows])
    middle = log_params.mean()
    _, slope, curvature = polyfit(log_params - middle, losses[:, budget.rows].T, 2)
    return middle - slope / (2 * curvature), curvature


def _through(found: list[Budget], log_params: np.ndarray) -> list[PowerLaw]:
    """Least squares in logarithms, for every row of sizes by budget."""
    logs = np.log([budget.flops for budget in found])
    constants, slopes = polyfit(logs - logs.mean(), log_params.T, 1)
    return [
        PowerLaw(float(constant - slope * logs.mean()), float(slope))
        for constant, slope in zip(constants, slopes, strict=True)
    ]
