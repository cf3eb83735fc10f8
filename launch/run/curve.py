"""The loss curve of a run as a picture. Imported where it is used: matplotlib is slow to load."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike

from data import durable
from data.errors import UserError
from train.report.writers import Record, read_jsonl

TRAIN, SMOOTH, EVALUATION, RATE = "#b8cbe0", "#1f5fa8", "#d1495b", "#5b6770"
SMOOTHED_SHARE = 0.02
MOST_RAW_POINTS = 50


def draw(metrics: Path, picture: Path) -> None:
    """Draw training and held-out loss over steps and tokens, and the learning rate, as a PNG.

    `metrics` is a run's metrics.jsonl. Raises ValueError if it holds no training record.
    """
    records = read_jsonl(metrics) if metrics.exists() else []
    train = [record for record in records if "loss" in record]
    if not train:
        raise UserError(
            f"metrics={metrics} must hold training records, because a curve is drawn through them; "
            "try the metrics.jsonl of a run that has trained some steps"
        )
    figure = Figure(figsize=(8, 5.5), dpi=150, layout="constrained")
    loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _draw_loss(loss, train, [record for record in records if "eval_loss" in record])
    _tokens_above(loss, train)
    rate.plot(_column(train, "step"), _column(train, "learning_rate"), color=RATE)
    rate.set_ylim(bottom=0)
    rate.set_xlim(left=0)
    rate.set_ylabel("learning rate")
    rate.set_xlabel("step")
    rate.xaxis.set_major_formatter(EngFormatter(sep=""))
    rate.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    for axes in (loss, rate):
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["right"]].set_visible(False)
    rate.spines[["top"]].set_visible(False)
    figure.suptitle(metrics.absolute().parent.name, fontsize=11)
    with durable.replacing(picture) as temporary:
        figure.savefig(temporary, format="png")


def _draw_loss(axes: Axes, train: Sequence[Record], evaluations: Sequence[Record]) -> None:
    steps, losses = _column(train, "step"), _column(train, "loss")
    if len(steps) > MOST_RAW_POINTS:
        axes.plot(steps, losses, color=TRAIN, linewidth=0.8)
        losses = _smooth(losses)
    style = "-" if len(steps) > 1 else "o"
    axes.plot(steps, losses, style, color=SMOOTH, label=f"training, {losses[-1]:.3f}")
    if evaluations:
        points = _column(evaluations, "eval_loss")
        label = f"held out, {points[-1]:.3f}"
        axes.plot(
            _column(evaluations, "step"), points, "o-", color=EVALUATION, ms=4, lw=1, label=label
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("loss (nats per token, log scale)")
    axes.legend(frameon=False)


def _tokens_above(axes: Axes, train: Sequence[Record]) -> None:
    steps, tokens = _column(train, "step"), _column(train, "tokens_seen")
    above = axes.secondary_xaxis(
        "top",
        functions=(
            lambda step: _extended(step, steps, tokens),
            lambda token: _extended(token, tokens, steps),
        ),
    )
    above.set_xlabel("tokens")
    above.xaxis.set_major_formatter(EngFormatter(sep=""))


def _extended(x: ArrayLike, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Interpolate through the origin and the points; go on in proportion after the last one."""
    x = np.asarray(x)
    inside = np.interp(x, np.append(0, xs), np.append(0, ys))
    return np.where((x < 0) | (x > xs[-1]), ys[-1] / xs[-1] * x, inside)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Means over a window around each point, as wide as fits near the ends."""
    half = max(1, int(len(values) * SMOOTHED_SHARE / 2))
    points = np.arange(len(values))
    reach = np.minimum(half, np.minimum(points, points[::-1]))
    finite = np.isfinite(values)
    sums = np.cumsum(np.append(0.0, np.where(finite, values, 0.0)))
    counts = np.cumsum(np.append(0, finite))
    first, last = points - reach, points + reach + 1
    means = (sums[last] - sums[first]) / np.maximum(counts[last] - counts[first], 1)
    return np.where(finite, means, np.nan)


def _column(records: Sequence[Record], name: str) -> np.ndarray:
    return np.array([float(record[name]) for record in records])
