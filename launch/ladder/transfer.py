"""Learning-rate transfer: whether the best rate of a narrow model is that of a wide one."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from launch.config import RunConfig
from launch.ladder import chart
from launch.ladder.short import Report, batches_of, short_runs

TAIL = 8
"""The loss of a run is the mean over its last steps, one in so many; each saw its rows once."""


class Curve(NamedTuple):
    """Loss over learning rate, of one width."""

    parametrization: str
    width: int
    rates: np.ndarray
    losses: np.ndarray
    """[rate]: mean over seeds; NaN where a run diverged."""

    @property
    def best(self) -> float | None:
        """The rate at the vertex of the parabola through the lowest point and its neighbours, over
        the logarithm of the rate; None if the lowest is the first or last, or has no neighbour."""
        if not np.isfinite(self.losses).any():
            return None
        at = int(np.nanargmin(self.losses))
        three = self.losses[max(at - 1, 0) : at + 2]
        if len(three) < 3 or not np.isfinite(three).all():
            return None
        left, low, right = three
        shift = 0.5 * (left - right) / (left - 2 * low + right)
        return float(self.rates[at] * (self.rates[at + 1] / self.rates[at]) ** shift)


def check(
    base: RunConfig, widths: Sequence[int], rates: Sequence[float], seeds: int, report: Report
) -> list[Curve]:
    """A curve for each width under both parametrizations; muP is based on the model of `base`. It
    runs on the current mesh."""
    runs, batches = short_runs(base, widths), batches_of(base)
    last = max(1, base.train.steps // TAIL)
    curves = []
    for kind, width, run in runs:
        losses = np.zeros(len(rates))
        for number, rate in enumerate(rates):
            states = (run.states(batches, rate, seed) for seed in range(seeds))
            losses[number] = np.mean([[loss for _, loss in of][-last:] for of in states])
            report(f"{kind} of width {width} at {rate:.2g}: {losses[number]:.4f}")
        curves.append(Curve(kind, width, np.array(rates), losses))
    return curves


def moved(curves: Sequence[Curve]) -> float | None:
    """Steps of the grid from the best rate of the narrowest to that of the widest model; None if
    the grid does not hold both."""
    first, last = curves[0], curves[-1]
    if first.best is None or last.best is None:
        return None
    return float(np.log(last.best / first.best) / np.log(first.rates[1] / first.rates[0]))


def by_kind(curves: Sequence[Curve]) -> list[list[Curve]]:
    """The curves of each parametrization."""
    return [list(own) for _, own in groupby(curves, lambda curve: curve.parametrization)]


def verdict(curves: Sequence[Curve]) -> str:
    """The losses as a table, the best rates, and whether they transfer."""
    lines = []
    for own in by_kind(curves):
        rates = "".join(f"{rate:>9.2g}" for rate in own[0].rates)
        lines.append(f"{own[0].parametrization:<12}{rates}     best")
        for curve in own:
            losses = "".join(f"{loss:>9.4f}" for loss in curve.losses)
            best = "not in the grid" if curve.best is None else f"{curve.best:.2g}"
            lines.append(f"{f'width {curve.width}':<12}{losses}  {best:>7}")
        lines.append(f"{own[0].parametrization}: {_conclusion(own)}\n")
    return "\n".join(lines).rstrip()


def _conclusion(curves: Sequence[Curve]) -> str:
    far = moved(curves)
    if far is None:
        lost = next(curve for curve in (curves[0], curves[-1]) if curve.best is None)
        return (
            f"not known, because the best rate of width {lost.width} is not inside the grid; "
            "try --lowest and --octaves that reach beyond it"
        )
    word = "transfers" if abs(far) < 1 else "does not transfer"
    return (
        f"the best rate {word}: from width {curves[0].width} to {curves[-1].width} it moves by "
        f"{far:+.2f} steps of the grid"
    )


@chart.styled()
def draw(curves: Sequence[Curve], folder: Path) -> None:
    """Loss over learning rate, a panel for each parametrization, a curve for each width."""
    figure = Figure(figsize=(9, 4.2))
    kinds = by_kind(curves)
    losses = np.concatenate([curve.losses for curve in curves])
    low, high = float(np.nanmin(losses)), float(np.nanmax(losses))
    for own, axes in zip(kinds, figure.subplots(1, len(kinds), sharey=True), strict=True):
        for curve, color in zip(own, chart.in_order(len(own)), strict=True):
            label = f"width {curve.width}"
            axes.plot(curve.rates, curve.losses, "o-", ms=3, lw=1.4, color=color, label=label)
            if curve.best is not None:
                axes.axvline(curve.best, color=color, lw=1, ls=":")
        chart.doubling(axes, curves[0].rates)
        axes.set_xlabel("peak learning rate (dotted: the best)")
        axes.set_title(chart.PARAMETRIZATIONS[own[0].parametrization], fontsize=11)
        axes.set_ylim(low - 0.05, min(low + 1.2, high + 0.05))
        axes.legend()
    figure.axes[0].set_ylabel("loss at the end, nats a token")
    chart.save_and_name(figure, folder, "transfer")
