"""The pictures of a report."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from launch.ladder import chart
from launch.ladder.backtest import Backtest
from launch.ladder.chart import DARK, MARKERS, Picture
from launch.ladder.fit import ScalingFit, optimum, predict
from launch.ladder.interval import LEVEL
from launch.ladder.power_law import MIN_SIZES, Unfit, sizes_of, valley
from launch.ladder.runs import Budget, Table, budgets, counted
from launch.ladder.surface import Surface
from train.report.numbers import power, short

POINTS = 40
MOST_CURVES = 7
TWO_SIDED = 1.96
"""Standard deviations within which 95 of 100 runs lie."""
COLORS, STYLES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7"), ("-", "--", "-.", ":")
"""Of the approaches; the colours are Okabe and Ito's."""
PARABOLA = COLORS[2]
LEGEND = 12
"""Budgets that are named in it."""


def isoflop(runs: Table, law_fit: ScalingFit | None) -> Picture:
    """Loss over size, a curve for each budget."""
    figure, axes = chart.blank(4.2)
    groups = budgets(runs.flops)
    curves, named = 0, sorted(groups, key=lambda budget: -len(budget.rows))[:LEGEND]
    in_legend = {budget.flops for budget in named}
    others = len(runs.loss) - sum(len(budget.rows) for budget in named)
    for place, (budget, color) in enumerate(zip(groups, chart.in_order(len(groups)), strict=True)):
        sizes, losses = runs.params[budget.rows], runs.loss[budget.rows]
        label = f"{power(budget.flops)} FLOPs, {counted(len(sizes))}"
        if budget.flops not in in_legend:
            label, others = (f"other computes, {counted(others)}" if others else None), 0
        marker = MARKERS[place % len(MARKERS)]
        axes.plot(sizes, losses, marker, color=color, ms=5, label=label, zorder=3)
        grid = np.geomspace(sizes.min(), sizes.max(), POINTS)
        if (best := _best(runs, budget)) is not None:
            curves += 1
            curve = np.polynomial.Polynomial.fit(np.log(sizes), losses, 2)
            axes.plot(grid, curve(np.log(grid)), color=color, lw=1.3)
            _star(axes, math.exp(best), curve(best), color)
        if law_fit:
            assert isinstance(law_fit.surface.law, Surface)
            on_law = law_fit.surface.law.loss(grid, law_fit.cost.tokens(budget.flops, grid))
            axes.plot(grid, on_law, ":", color=color, lw=1.3)
    chart.of_sizes(axes, chart.N)
    axes.set_ylabel(chart.LOSS)
    chart.below(figure, axes, 2)
    caption = (
        f"{counted(len(runs.loss))}, a point each, at {len(groups)} budgets from "
        f"{power(groups[0].flops)} to {power(groups[-1].flops)} FLOPs. Solid: the parabola of a "
        f"budget, a star at its lowest point; {curves} of {len(groups)} budgets have one. "
    )
    if law_fit:
        caption += "Dotted: the surface fitted to all runs; its intervals are in the next picture."
    else:
        caption += "No law, and so no interval, follows from these runs."
    return Picture("isoflop", "Loss at equal compute", figure, caption)


def best_size(runs: Table, law_fit: ScalingFit, reach: float) -> Picture:
    """The best size over compute, by every approach that has one."""
    figure, axes = chart.blank(4.2)
    computes = np.geomspace(runs.flops.min(), reach, POINTS)
    names = []
    for approach, color, style in zip(law_fit.approaches, COLORS, STYLES, strict=True):
        at = [optimum(law_fit, approach, flops) for flops in computes]
        known = [(best.flops, *best.params) for best in at if not isinstance(best, str)]
        if known:
            names.append(approach.name)
            _band(axes, known, color, 1.6, approach.name, style, 0.13)
    for budget in budgets(runs.flops):
        if (best := _best(runs, budget)) is not None:
            _star(axes, budget.flops, math.exp(best), PARABOLA)
    chart.shade_beyond(axes, float(runs.flops.max()), reach)
    axes.set_xlim(computes[0] / 1.25, reach)
    chart.of_computes(axes)
    chart.of_sizes(axes, f"best {chart.N}", "y")
    chart.below(figure, axes, 2)
    caption = (
        f"{counted(len(runs.loss))}, up to {power(reach)} FLOPs; bands are 95 % intervals. Stars: "
        "lowest points of the parabolas. An approach is drawn where its interval is narrow enough "
        f"to show a size; {len(names)} of {len(law_fit.approaches)} are somewhere: "
        f"{'; '.join(names) or 'none'}."
    )
    return Picture("best-size", "The best size", figure, caption)


def _best(runs: Table, budget: Budget) -> float | None:
    """Logarithm of the best size that a budget's parabola shows, if it shows one."""
    if sizes_of(runs, budget) < MIN_SIZES:
        return None
    try:
        return valley(runs, budget)
    except Unfit:
        return None


def _star(axes: Axes, x: float, y: float, color: Any) -> None:
    axes.plot(x, y, "*", color=color, ms=11, mec="white", mew=0.8, zorder=4)


def surface(
    runs: Table, law_fit: ScalingFit, held_out: Sequence[Backtest], reach: float
) -> Picture:
    """Loss over compute: the law of several sizes, and of the best one beyond the runs."""
    figure, axes = chart.blank(4.6)
    sizes = np.unique(runs.params)
    shown = sizes[np.unique(np.linspace(0, len(sizes) - 1, MOST_CURVES).round().astype(int))]
    for size, color in zip(sizes, chart.in_order(len(sizes)), strict=True):
        own = runs.take(runs.params == size)
        marker, label = ".", None
        if size in shown:
            marker = MARKERS[int(np.searchsorted(shown, size))]
            label = f"N = {short(size)}, {counted(len(own.loss))}"
            end = max(4 * own.flops.max(), 1.5 * runs.flops.max())
            computes = np.geomspace(own.flops.min() / 1.6, end, POINTS)
            law = [(at, *predict(law_fit, size, law_fit.cost.tokens(at, size))) for at in computes]
            _band(axes, law, color, 1.1)
        axes.plot(own.flops, own.loss, marker, color=color, ms=5, label=label, zorder=3)
    at = [
        optimum(law_fit, law_fit.surface, flops)
        for flops in np.geomspace(runs.flops.min(), reach, POINTS)
    ]
    best = [(each.flops, *each.loss) for each in at if not isinstance(each, str) and each.loss]
    if best:
        _band(axes, best, DARK, 1.8, "best size of each compute")
    _held_out(axes, held_out)
    ends = [end for test in held_out for end in (*test.predicted, *test.losses)]
    low = min([float(runs.loss.min()), *(low for _, _, low, _ in best), *ends])
    high = max([float(runs.loss.max()), *ends])
    axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    axes.set_xlim(runs.flops.min() / 2, reach * 1.5)
    chart.shade_beyond(axes, float(runs.flops.max()), reach * 1.5)
    chart.of_computes(axes)
    axes.set_ylabel(chart.LOSS)
    chart.below(figure, axes, 2)
    caption = (
        f"The surface of {counted(len(runs.loss))}: its loss over compute for {len(shown)} sizes, "
        f"and (dark) for the best size of each compute up to {power(reach)} FLOPs. Bands hold "
        f"{LEVEL:.0%} of runs: they count what is not known of the surface, and the noise of one "
        "run. "
    )
    if held_out:
        caption += (
            "Bars: what was predicted of the mean of held-out runs, with its 95 % interval; "
            "diamonds: these runs, as far as they are trained."
        )
    return Picture("surface", "The fitted surface", figure, caption)


def _band(
    axes: Axes,
    points: Sequence[tuple[float, ...]],
    color: Any,
    width: float,
    label: str | None = None,
    style: str = "-",
    alpha: float = 0.18,
) -> None:
    """A line and its interval, of points with their x, value, low and high."""
    x, value, low, high = np.array(points).T
    axes.plot(x, value, style, color=color, lw=width, label=label, zorder=2)
    axes.fill_between(x, low, high, color=color, alpha=alpha, lw=0, zorder=1)


def _held_out(axes: Axes, tests: Sequence[Backtest]) -> None:
    """What was predicted, and what came of it."""
    for place, test in enumerate(tests):
        value, low, high = test.predicted
        axes.errorbar(
            test.flops,
            value,
            [[value - low], [high - value]],
            fmt="_",
            color=chart.PREDICTED,
            capsize=5,
            lw=1.6,
            ms=9,
            label=None if place else "held out, predicted",
            zorder=4,
        )
    measured = [(test.flops, loss) for test in tests for loss in test.losses]
    if measured:
        label = f"held out, measured, {counted(len(measured))}"
        axes.plot(*np.array(measured).T, "D", mfc="none", mec=DARK, ms=5, label=label, zorder=5)


def residuals(runs: Table, law_fit: ScalingFit) -> Picture:
    """How far each run lies off the surface, in units of the noise."""
    figure, axes = chart.blank(3.9)
    off, logs = law_fit.residual(runs), np.log(runs.params)
    axes.axhspan(-TWO_SIDED, TWO_SIDED, color=chart.BAND, alpha=0.45, lw=0)
    axes.axhline(0, color=chart.GREY, lw=1)
    points = axes.scatter(runs.flops, off, c=logs, cmap=chart.ORDERED, s=30, zorder=3)
    bar = figure.colorbar(points, ax=axes, pad=0.02)
    ends = [logs.min(), (logs.min() + logs.max()) / 2, logs.max()]
    bar.set_ticks(ends, labels=[short(size) for size in np.exp(ends)])
    bar.set_label(chart.N)
    most = max(3.0, 1.15 * float(np.abs(off).max()))
    axes.set_ylim(-most, most)
    chart.of_computes(axes)
    axes.set_ylabel("loss off the surface\n(standard deviations)")
    inside = int((np.abs(off) <= TWO_SIDED).sum())
    caption = (
        f"{counted(len(off))}, in units of the noise of {law_fit.noise:.2g} nats. The band holds "
        f"95 of 100 runs if the law has the right shape; here it holds {inside} of {len(off)}."
    )
    return Picture("residuals", "What the surface leaves", figure, caption)


def forecasts(tests: Sequence[Backtest]) -> Picture:
    """A row for each: the interval that was predicted, about the mean that was measured, in per
    cent."""
    figure, axes = chart.blank(1.4 + 0.55 * len(tests))
    for row, test in enumerate(tests):
        zero = test.predicted.value if test.measured is None else test.measured
        value, low, high = (100 * (loss / zero - 1) for loss in test.predicted)
        color = chart.GREY if test.measured is None else chart.PREDICTED
        axes.plot([low, high], [row, row], color=color, lw=7, alpha=0.5, solid_capstyle="butt")
        axes.plot(value, row, "|", color=color, ms=16, mew=2.5, zorder=3)
        if test.measured is not None:
            each = [100 * (loss / zero - 1) for loss in test.losses]
            axes.plot(each, [row] * len(each), "D", mfc="none", mec=DARK, ms=5, zorder=4)
    axes.axvline(0, color=DARK, lw=1.2, ls="--")
    most = 1.15 * max(abs(end) for end in axes.get_xlim())
    axes.set_xlim(-most, most)
    axes.set_ylim(len(tests) - 0.5, -0.5)
    names = [f"{test.name}\n{power(test.flops)} FLOPs, {counted(test.runs)}" for test in tests]
    axes.set_yticks(range(len(tests)), names)
    axes.set_xlabel("predicted, off the mean that was measured (%)")
    done = [test for test in tests if test.measured is not None]
    inside = sum(not test.failed for test in done)
    caption = (
        f"Bars: 95 % intervals of the mean of so many runs, a line at what was predicted; dashed: "
        f"the mean that was measured ({len(done)} of {len(tests)}, {inside} of them inside); "
        "diamonds: the runs of it that differ by seed alone. "
    )
    if len(done) < len(tests):
        caption += "Grey: not measured yet, drawn about what is predicted. "
    caption += (
        "Forecasts were written before their runs were trained. The largest compute, left out, is "
        "compared with a law that is fitted to all other runs."
    )
    return Picture("forecasts", "Predicted and measured", figure, caption)
