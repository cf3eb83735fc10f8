"""The look of the pictures: colours that everyone can distinguish, axes in plain numbers."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from data import durable
from launch.process.typed import near
from train.report.numbers import power, short

DARK, GREY, BAND, BEYOND, PREDICTED = "#222b33", "#6c7780", "#c9d3dc", "#f4f1ea", "#d55e00"
N, LOSS = "size N (parameters)", "loss (nats a token)"
ORDERED = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.85, 256)))
"""Dark to light, for what has an order."""
MARKERS = "osD^vPXph*"
STEPS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(np.arange(1, 10, 0.5)))
"""Ticks of a decade, from few to many."""
MIN_TICKS = 4
# Text stays text, and the same input makes the same bytes.
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "meshloom",
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "#e6e6e6",
}
PARAMETRIZATIONS = {"standard": "standard", "mup": "muP"}
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


class Picture(NamedTuple):
    """One figure of a report."""

    name: str
    title: str
    figure: Figure
    caption: str
    """What it shows and how to read it, of how many runs it is, and what its intervals are."""


@contextmanager
def styled() -> Iterator[None]:
    """Within, figures are drawn and saved in our look."""
    with matplotlib.rc_context(STYLE):
        yield


def blank(height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes."""
    figure = Figure(figsize=(5.4, height))
    return figure, figure.subplots()


def in_order(count: int) -> np.ndarray:
    """So many colours of what has an order; (count, 4)."""
    return ORDERED(np.linspace(0.0, 1.0, max(count, 2)))[:count]


def of_sizes(axes: Axes, label: str, which: str = "x") -> None:
    """Make x or y logarithmic, in sizes such as 50K."""
    _logarithmic(axes, which, label, short)


def of_computes(axes: Axes) -> None:
    """Make x logarithmic, in FLOPs such as 2e12."""
    _logarithmic(axes, "x", "training FLOPs", lambda value: power(value, 2))


def doubling(axes: Axes, places: Sequence[float] | np.ndarray) -> None:
    """Make x logarithmic with ticks at these places, each about twice the one before."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [f"{place:.2g}" if place < 1 else f"{place:g}" for place in places])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=8)


def shade_beyond(axes: Axes, largest: float, end: float) -> None:
    """Mark the computes above all that were tried."""
    axes.axvspan(1.25 * largest, end, color=BEYOND, lw=0, zorder=0)
    place = {"transform": axes.transAxes, "ha": "right", "va": "top"}
    axes.text(0.985, 0.985, "beyond the runs", **place, color=GREY, size=8)


def below(figure: Figure, axes: Axes, columns: int) -> None:
    """The legend under the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write NAME.png and NAME.svg, and return the SVG."""
    saved = BytesIO()
    for kind, metadata in (("png", {"Software": None}), ("svg", NO_METADATA)):
        saved = BytesIO()
        figure.savefig(saved, format=kind, dpi=200, metadata=metadata)
        durable.write(folder / f"{name}.{kind}", saved.getvalue())
    return saved.getvalue().decode()


def save_and_name(figure: Figure, folder: Path, name: str) -> None:
    """`save`, and print where it is."""
    save(figure, folder, name)
    print(f"picture: {near((folder / name).absolute())}.png")


def _logarithmic(axes: Axes, which: str, label: str, text: Callable[[float], str]) -> None:
    """As many round numbers as make a scale, and no more."""
    axes.set(**{f"{which}scale": "log", f"{which}label": label})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    ticks: Sequence[float] = []
    for steps in STEPS:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
        if len(ticks) >= MIN_TICKS:
            break
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
