"""Pictures of the best size: loss over size at equal compute, and the best size over compute."""

import math

import numpy as np
from matplotlib.axes import Axes

from launch.ladder import chart
from launch.ladder.chart import MARKERS, Picture
from launch.ladder.digits import power
from launch.ladder.digits import runs as count
from launch.ladder.fit import Fit, optimum
from launch.ladder.isoflop import LEAST_SIZES, Unfit, valley
from launch.ladder.runs import Budget, Table, budgets
from launch.ladder.surface import Surface

POINTS = 40
COLORS, STYLES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7"), ("-", "--", "-.", ":")
"""Of the approaches; the colours are Okabe and Ito's."""
PARABOLA = COLORS[2]
LEGEND = 12
"""Budgets that are named in it."""


def isoflop(runs: Table, found: Fit | None) -> Picture:
    """Loss over size, a curve for each budget."""
    figure, axes = chart.blank(4.2)
    groups = budgets(runs.flops)
    curves, named = 0, _named(groups)
    others = sum(len(budget.rows) for budget in groups if budget.flops not in named)
    for place, (budget, color) in enumerate(zip(groups, chart.in_order(len(groups)), strict=True)):
        sizes, losses = runs.params[budget.rows], runs.loss[budget.rows]
        label = f"{power(budget.flops)} FLOPs, {count(len(sizes))}"
        if budget.flops not in named:
            label, others = (f"other computes, {count(others)}" if others else None), 0
        marker = MARKERS[place % len(MARKERS)]
        axes.plot(sizes, losses, marker, color=color, ms=5, label=label, zorder=3)
        grid = np.geomspace(sizes.min(), sizes.max(), POINTS)
        best = _best(runs, budget)
        if best is not None:
            curves += 1
            curve = np.polynomial.Polynomial.fit(np.log(sizes), losses, 2)
            axes.plot(grid, curve(np.log(grid)), color=color, lw=1.3)
            _star(axes, math.exp(best), curve(best), color)
        if found:
            assert isinstance(found.surface.law, Surface)
            on_law = found.surface.law.loss(grid, found.cost.tokens(budget.flops, grid))
            axes.plot(grid, on_law, ":", color=color, lw=1.3)
    chart.of_sizes(axes, chart.N)
    axes.set_ylabel(chart.LOSS)
    chart.below(figure, axes, 2)
    caption = (
        f"{len(runs.loss)} runs, a point each. Solid: the parabola of a budget, a star at its "
        f"lowest point; {curves} of {len(groups)} budgets have one. "
    )
    if found:
        caption += "Dotted: the surface fitted to all runs; its intervals are in the next picture."
    else:
        caption += "No law, and so no interval, is told from these runs."
    alt = (
        f"Loss over size, a curve for each of {len(groups)} budgets from {power(groups[0].flops)} "
        f"to {power(groups[-1].flops)} FLOPs; {len(runs.loss)} runs, {curves} parabolas"
    )
    return Picture("isoflop", "Loss at equal compute", figure, alt, caption)


def _named(groups: list[Budget]) -> set[float]:
    """Computes of the budgets that have a place in the legend, those of the most runs."""
    most = sorted(groups, key=lambda budget: -len(budget.rows))
    return {budget.flops for budget in most[:LEGEND]}


def best_size(runs: Table, found: Fit, reach: float) -> Picture:
    """The best size over compute, by every approach that tells one."""
    figure, axes = chart.blank(4.2)
    computes = np.geomspace(runs.flops.min(), reach, POINTS)
    names = []
    for approach, color, style in zip(found.approaches, COLORS, STYLES, strict=True):
        at = [optimum(found, approach, flops) for flops in computes]
        known = [(best.flops, *best.params) for best in at if not isinstance(best, str)]
        if not known:
            continue
        names.append(approach.name)
        x, value, low, high = zip(*known, strict=True)
        axes.plot(x, value, style, color=color, lw=1.6, label=approach.name)
        axes.fill_between(x, low, high, color=color, alpha=0.13, lw=0)
    for budget in budgets(runs.flops):
        best = _best(runs, budget)
        if best is not None:
            _star(axes, budget.flops, math.exp(best), PARABOLA)
    chart.shade_beyond(axes, float(runs.flops.max()), reach)
    axes.set_xlim(computes[0] / 1.25, reach)
    chart.of_computes(axes)
    chart.sizes_up(axes, f"best {chart.N}")
    chart.below(figure, axes, 2)
    caption = (
        f"{len(runs.loss)} runs; bands are 95 % intervals. Stars: lowest points of the parabolas. "
        "An approach is drawn where its interval is narrow enough to tell a size; "
        f"{len(names)} of {len(found.approaches)} are somewhere."
    )
    alt = (
        f"Best size over FLOPs up to {power(reach)} with 95 % intervals, by "
        f"{'; '.join(names) or 'no approach'}; {len(runs.loss)} runs"
    )
    return Picture("best-size", "The best size", figure, alt, caption)


def _best(runs: Table, budget: Budget) -> float | None:
    """Logarithm of the best size that a budget's parabola shows, if it shows one."""
    if len(np.unique(runs.params[budget.rows])) < LEAST_SIZES:
        return None
    try:
        return valley(runs, budget)
    except Unfit:
        return None


def _star(axes: Axes, x: float, y: float, color: object) -> None:
    axes.plot(x, y, "*", color=color, ms=11, mec="white", mew=0.8, zorder=4)  # pyright: ignore[reportArgumentType]
