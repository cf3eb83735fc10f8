"""Runs of a known law, sound and spoilt."""

import numpy as np

from launch.ladder.runs import ScalingRun, Table
from launch.ladder.surface import Surface

TRUTH = Surface(1.69, 406.4, 410.7, 0.34, 0.28)
"""Equation 10 of Hoffmann et al. 2022 (arXiv:2203.15556)."""
BUDGETS, SIZES = np.geomspace(1e18, 1e20, 5), 7
SPAN, ASIDE = 5.0, 1.15
"""Sizes lie from a SPAN-th to SPAN times of what is best, and ASIDE of it, as nobody knows it."""
TARGET = 1e22
NOISE = 0.005
TOP = np.arange(28, 35)
"""Rows of the largest budget."""


def ladder(budgets: np.ndarray, sizes: int) -> Table:
    """Runs of the true surface."""
    best = np.array([TRUTH.optimal_params(flops) for flops in budgets])
    params = np.outer(best * ASIDE, np.geomspace(1 / SPAN, SPAN, sizes)).ravel()
    flops = np.repeat(budgets, sizes)
    tokens = flops / (6 * params)
    return Table(params, tokens, flops, TRUTH.loss(params, tokens))


def sound(noise: np.ndarray) -> Table:
    """Runs of the true surface with that noise; (35,)."""
    return shifted(ladder(BUDGETS, SIZES), np.arange(len(noise)), noise)


def shifted(runs: Table, rows: np.ndarray, by: float | np.ndarray) -> Table:
    loss = runs.loss.copy()
    loss[rows] += by
    return runs._replace(loss=loss)


def short(runs: Table, rows: np.ndarray, share: float, *, known: bool) -> Table:
    """Those runs stopped at a share of their tokens; `known` if the table has the tokens they saw,
    next to the compute they were planned for."""
    seen = runs.tokens.copy()
    seen[rows] *= share
    apart = TRUTH.loss(runs.params, seen) - TRUTH.loss(runs.params, runs.tokens)
    return runs._replace(loss=runs.loss + apart, tokens=seen if known else runs.tokens)


def upside_down(runs: Table) -> Table:
    loss = runs.loss.copy()
    loss[TOP] = 2 * loss[TOP].mean() - loss[TOP]
    return runs._replace(loss=loss)


def only(runs: Table, *sizes: int) -> Table:
    return runs.take(np.isin(np.arange(len(runs.loss)) % SIZES, sizes))


def named(runs: Table) -> list[ScalingRun]:
    rows = zip(*runs, strict=True)
    return [ScalingRun(f"run {n}", *map(float, row)) for n, row in enumerate(rows)]
