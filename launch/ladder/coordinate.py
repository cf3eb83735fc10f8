"""The coordinate check: whether activations keep their size as a model gets wider.

A few steps move each activation of a wide model as far as one of a narrow model under muP (Yang et
al. 2022, appendix D.1); under the standard parametrization some move further the wider it is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from data.batch import Batch
from launch.config import RunConfig
from launch.ladder import chart
from launch.ladder.short import Report, ShortRun, batches_of, short_runs

KINDS = ("embedding", "attention", "feed-forward", "residual stream", "change of logits")
TOLERANCE = 0.25
"""Largest exponent of the width that counts as flat: half of the smallest, 1/2, that theory gives
activations that are not."""


class Sizes(NamedTuple):
    """Mean absolute activations under one parametrization."""

    parametrization: str
    widths: tuple[int, ...]
    means: np.ndarray
    """[width, kind, step], the first step the initial model; logits have not changed there."""

    @property
    def slopes(self) -> np.ndarray:
        """[kind]: the exponent of the width that fits the sizes after the last step."""
        x, y = np.log(self.widths), np.log(self.means[:, :, -1])
        return np.polyfit(x, y, 1)[0]

    @property
    def flat(self) -> bool:
        return bool(np.all(np.abs(self.slopes) <= TOLERANCE))


def check(
    base: RunConfig, widths: Sequence[int], rate: float, seeds: int, report: Report
) -> list[Sizes]:
    """Sizes over width under both parametrizations, the mean of some seeds; muP is based on the
    model of `base`. It runs on the current mesh."""
    runs, batches = short_runs(base, widths), batches_of(base)
    means: dict[str, list[np.ndarray]] = {}
    for kind, width, run in runs:
        sizes = [_watched(run, batches, rate, seed) for seed in range(seeds)]
        means.setdefault(kind, []).append(np.mean(sizes, axis=0))
        report(f"{kind} of width {width}")
    return [Sizes(kind, tuple(widths), np.array(of_kind)) for kind, of_kind in means.items()]


def _watched(run: ShortRun, batches: Sequence[Batch], rate: float, seed: int) -> np.ndarray:
    """[kind, step]: activations on the first batch, before the first step and after each."""
    watch = jax.jit(
        lambda model, rows: model.activation_sizes(rows.tokens, rows.positions, rows.segment_ids)
    )
    first, columns = None, []
    for state, _ in run.states(batches, rate, seed):
        sizes, logits = watch(state.model, batches[0])
        first = logits if first is None else first
        sizes = sizes | {"change of logits": jnp.mean(jnp.abs(logits - first))}
        columns.append([float(sizes[kind]) for kind in KINDS])
    return np.array(columns).T


def verdict(checked: Sequence[Sizes]) -> str:
    """The sizes after the last step as a table, and what they say."""
    lines = []
    for sizes in checked:
        names = "".join(f"{width:>10}" for width in sizes.widths)
        lines.append(f"{sizes.parametrization:<18}{names}  exponent of the width")
        for kind, means, slope in zip(KINDS, sizes.means[:, :, -1].T, sizes.slopes, strict=True):
            word = "flat" if abs(slope) <= TOLERANCE else "grows" if slope > 0 else "shrinks"
            numbers = "".join(f"{mean:>10.4f}" for mean in means)
            lines.append(f"{kind:<18}{numbers}  {slope:+.2f}  {word}")
        word = "all activations are" if sizes.flat else "not all activations are"
        lines.append(f"{sizes.parametrization}: {word} flat (exponents within {TOLERANCE})\n")
    return "\n".join(lines).rstrip()


@chart.styled()
def draw(checked: Sequence[Sizes], folder: Path) -> None:
    """Size over width, a column for each kind of activation, a line for each step."""
    figure = Figure(figsize=(11, 4.8))
    grid = figure.subplots(len(checked), len(KINDS), sharex=True, sharey="col", squeeze=False)
    colors = chart.in_order(checked[0].means.shape[2])
    for sizes, row in zip(checked, grid, strict=True):
        for number, axes in enumerate(row):
            for step, color in enumerate(colors):
                line = sizes.means[:, number, step]
                if line.any():  # logits have not changed at step 0
                    axes.plot(sizes.widths, line, "o-", ms=3, lw=1.4, color=color, label=str(step))
            chart.doubling(axes, sizes.widths)
            _decades(axes, np.concatenate([other.means[:, number].ravel() for other in checked]))
            axes.set_title(f"{KINDS[number]}: {sizes.slopes[number]:+.2f}", fontsize=10)
        row[0].set_ylabel(f"{chart.PARAMETRIZATIONS[sizes.parametrization]}\nmean size")
    for axes in grid[-1]:
        axes.set_xlabel("width")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, title="step", loc="outside right center")
    figure.suptitle("activations over width, with the exponent after the last step", fontsize=11)
    chart.save_and_name(figure, folder, "coordinate")


def _decades(axes: Axes, means: np.ndarray) -> None:
    """A logarithmic y for all of `means`, of a decade at least, so that noise looks small."""
    low, high = float(means[means > 0].min()), float(means.max())
    room = max(1.2, (10 * low / high) ** 0.5)
    axes.set_yscale("log")
    axes.set_ylim(low / room, high * room)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
