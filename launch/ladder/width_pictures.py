"""Pictures of the two checks over width, each as PNG and SVG. Imported where it is used."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from launch.ladder.chart import in_order, save, styled
from launch.ladder.coordinate import KINDS, Sizes
from launch.ladder.transfer import Curve
from launch.process.typed import near

TITLES = {"standard": "standard", "mup": "muP"}


@styled()
def draw_sizes(found: Sequence[Sizes], folder: Path) -> None:
    """Size over width, a column for each kind of activation, a line for each step."""
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    grid = figure.subplots(len(found), len(KINDS), sharex=True, sharey="col", squeeze=False)
    colors = in_order(found[0].means.shape[2])
    for sizes, row in zip(found, grid, strict=True):
        for number, axes in enumerate(row):
            for step, color in enumerate(colors):
                line = sizes.means[:, number, step]
                if line.any():  # logits have not changed at step 0
                    axes.plot(sizes.widths, line, "o-", ms=3, lw=1.4, color=color, label=str(step))
            _ticks(axes, sizes.widths)
            _decades(axes, [other.means[:, number] for other in found])
            axes.set_title(f"{KINDS[number]}: {sizes.slopes[number]:+.2f}", fontsize=10)
        row[0].set_ylabel(f"{TITLES[sizes.parametrization]}\nmean size")
    for axes in grid[-1]:
        axes.set_xlabel("width")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, title="step", loc="outside right center", frameon=False)
    figure.suptitle("activations over width, with the exponent after the last step", fontsize=11)
    _save(figure, folder, "coordinate")


@styled()
def draw_curves(curves: Sequence[Curve], folder: Path) -> None:
    """Loss over learning rate, a panel for each parametrization, a curve for each width."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    kinds = [list(own) for _, own in groupby(curves, lambda curve: curve.parametrization)]
    losses = np.concatenate([curve.losses for curve in curves])
    low = float(np.nanmin(losses))
    for own, axes in zip(kinds, figure.subplots(1, len(kinds), sharey=True), strict=True):
        for curve, color in zip(own, in_order(len(own)), strict=True):
            label = f"width {curve.width}"
            axes.plot(curve.rates, curve.losses, "o-", ms=3, lw=1.4, color=color, label=label)
            if curve.best is not None:
                axes.axvline(curve.best, color=color, lw=1, ls=":")
        _ticks(axes, curves[0].rates)
        axes.set_xlabel("peak learning rate (dotted: the best)")
        axes.set_title(TITLES[own[0].parametrization], fontsize=11)
        axes.set_ylim(low - 0.05, min(low + 1.2, float(np.nanmax(losses)) + 0.05))
        axes.legend(frameon=False, fontsize=8)
    figure.axes[0].set_ylabel("loss at the end, nats a token")
    _save(figure, folder, "transfer")


def _decades(axes: Axes, means: Sequence[np.ndarray]) -> None:
    """A logarithmic y for all of `means`, of a decade at least, so that noise looks small."""
    there = np.concatenate([part[part > 0] for part in means])
    low, high = float(there.min()), float(there.max())
    room = max(1.2, (10 * low / high) ** 0.5)
    axes.set_yscale("log")
    axes.set_ylim(low / room, high * room)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _ticks(axes: Axes, places: Sequence[float] | np.ndarray) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [f"{place:.2g}" if place < 1 else f"{place:g}" for place in places])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=8)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["right", "top"]].set_visible(False)


def _save(figure: Figure, folder: Path, name: str) -> None:
    save(figure, folder, name)
    print(f"picture: {near((folder / name).absolute())}.png")
