"""A run's timeline as a picture. Imported where it is used: matplotlib is slow to load."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from data import durable
from launch.run.goodput import KINDS, attempts, counting, parts, totals
from launch.run.timeline import Span

UNITS = ((172_800, 86_400, "days"), (7200, 3600, "hours"), (120, 60, "minutes"), (0, 1, "seconds"))
"""From how many seconds on, the unit of time, its seconds and its name."""
GAP = (math.nan, math.nan)


def draw(title: str, spans: Sequence[Span], picture: Path) -> None:
    """Draw steps over wall time, and below what the time went into, as a PNG."""
    spans = list(spans)
    begin, end = spans[0].begin, max(span.end for span in spans)
    scale, unit = next((size, name) for lowest, size, name in UNITS if end - begin >= lowest)
    figure = Figure(figsize=(8, 4), dpi=150, layout="constrained")
    steps, band = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    _draw_steps(steps, spans, begin, scale)
    for kind, first, last in parts(spans):
        band.axvspan((first - begin) / scale, (last - begin) / scale, color=KINDS[kind].color, lw=0)
    band.set_yticks([])
    band.set_xlim(0, (end - begin) / scale)
    band.set_xlabel(f"{unit} since the first start")
    _legend(figure, totals(spans))
    for axes in (steps, band):
        axes.spines[["right", "top"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    with durable.replacing(picture) as temporary:
        figure.savefig(temporary, format="png")


def _draw_steps(axes: Axes, spans: list[Span], begin: float, scale: float) -> None:
    """Steps that count in blue, those that were repeated in red, each start a thin line."""
    kept: list[tuple[float, float]] = []
    lost: list[tuple[float, float]] = []
    for span, share in zip(spans, counting(spans), strict=True):
        if span.phase != "step" or span.first_step is None:
            continue
        first, last = span.first_step - 1, span.first_step - 1 + len(span.steps)
        turn = (span.begin + share * (span.end - span.begin), first + share * (last - first))
        kept += [(span.begin, first), turn, GAP]
        lost += [turn, (span.end, last), GAP]
    for points, color in ((kept, KINDS["steps"].color), (lost, KINDS["lost"].color)):
        times, steps = zip(*points, strict=True) if points else ((), ())
        axes.plot([(at - begin) / scale for at in times], steps, color=color, lw=1.6)
    for attempt in attempts(spans):
        axes.axvline((attempt.begin - begin) / scale, color="#9aa3a8", lw=0.8, ls=":")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("step")
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelbottom=False)


def _legend(figure: Figure, seconds: dict[str, float]) -> None:
    wall = max(sum(seconds.values()), 1e-9)
    present = {kind: spent / wall for kind, spent in seconds.items() if spent > 0}
    patches = [
        Patch(color=KINDS[kind].color, label=f"{kind.replace('_', ' ')} {share:.1%}")
        for kind, share in present.items()
    ]
    figure.legend(handles=patches, loc="outside right center", frameon=False, fontsize=8)
