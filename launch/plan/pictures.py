"""The pictures of a plan: what fills a chip's memory, and the memory and step time of every layout
of a search. Imported where they are used: matplotlib is slow to load."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from data import durable
from launch.plan.estimate import LayoutEstimate
from launch.plan.plan import Plan
from launch.plan.search import Search
from launch.process.mesh import shown
from train.report.numbers import GIB, size_unit

PARTS = {
    "parameters": "#1f5fa8",
    "optimizer": "#8fb3d9",
    "moving average": "#7d6b9e",
    "batch": "#5b6770",
    "padding of these": "#c9ced1",
    "gradients": "#6a9f58",
    "activations and temporaries": "#d9b44a",
}
REMAT = {"none": "#d9b44a", "dots": "#6a9f58", "full": "#1f5fa8"}
INK, LIMIT = "#26323c", "#d1495b"
NEAR = 10.0
"""Times the best step: slower layouts are left out of the picture."""


def draw_fit(plan: Plan, picture: Path) -> None:
    """Draw one stacked bar of the parts against what the chip has, as a PNG."""
    figure = Figure(figsize=(8, 3), dpi=150, layout="constrained")
    axes = figure.subplots()
    name, factor = size_unit(plan.fit.peak)
    left = 0.0
    for part in plan.fit.parts:
        wide = part.bytes / factor
        label = f"{part.name} {wide:,.2f} ({part.origin})"
        axes.barh(0, wide, left=left, color=PARTS[part.name], label=label, height=0.6)
        left += wide
    limit = plan.fit.limit * plan.fit.share / factor
    there = "there is" if plan.fit.share == 1 else f"JAX takes {plan.fit.share:.0%} of a GPU:"
    axes.axvline(limit, color=LIMIT, lw=1.6, label=f"{there} {limit:,.2f} {name}")
    axes.set_xlim(0, 1.05 * max(left, limit))
    axes.set_yticks([])
    axes.set_xlabel(f"{name} of a device")
    axes.spines[["left", "right", "top"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    title = f"{plan.config.preset} on {plan.topology.words}, mesh {shown(plan.step.mesh)}"
    figure.suptitle(f"{title}: {plan.fit.verdict}", fontsize=10)
    _save(figure, picture)


def draw_search(search: Search, picture: Path) -> None:
    """Draw the estimates as points, those that nothing beats in both joined by a line, and what
    the compiler says of the few as rings joined to theirs, as a PNG."""
    best = search.best
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    fastest = search.estimates[0].time.seconds
    near = [e for e in search.estimates if e.time.seconds <= NEAR * fastest]
    for remat, color in REMAT.items():
        alike = _places(e for e in near if e.config.model.remat == remat)
        axes.plot(*alike, ".", color=color, ms=5, alpha=0.7, label=f"remat {remat}, by arithmetic")
    front = _places(pareto(near))
    axes.plot(*front, color=INK, lw=0.8, drawstyle="steps-post", label="none is better in both")
    star: dict[str, Any] = {"marker": "*", "mfc": LIMIT, "ms": 13, "color": INK}
    ring: dict[str, Any] = {"marker": "o", "mfc": "white", "ms": 7, "color": INK}
    for estimate, plan in search.plans:
        if plan.fit.fits:
            at = (plan.time.seconds, plan.fit.peak / GIB)
            seconds, sizes = zip(_place(estimate), at, strict=True)
            axes.plot(seconds, sizes, color=INK, lw=0.6, ls=":")
            axes.plot(*at, **(star if plan is best else ring))
    axes.plot([], [], ls="", label="compiled, by the compiler", **ring)
    chosen = f"chosen: {shown(best.step.mesh)}, remat {best.config.model.remat}"
    axes.plot([], [], ls="", label=chosen, **star)
    axes.axhline(best.fit.most / GIB, color=LIMIT, lw=1.4, label="what a device gives a step")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("seconds a step")
    axes.set_ylabel("GiB a device")
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_minor_locator(NullLocator())
        axis.set_tick_params(labelsize=8)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False, fontsize=8)
    axes.spines[["right", "top"]].set_visible(False)
    count = f"{len(search.estimates):,} layouts"
    figure.suptitle(f"{best.config.preset} on {best.topology.words}: {count}", fontsize=10)
    _save(figure, picture)


def pareto(estimates: Iterable[LayoutEstimate]) -> list[LayoutEstimate]:
    """Those that no other is both faster and smaller than, the fastest first."""
    front: list[LayoutEstimate] = []
    for estimate in sorted(estimates, key=_place):
        if not front or estimate.bytes < front[-1].bytes:
            front.append(estimate)
    return front


def _place(estimate: LayoutEstimate) -> tuple[float, float]:
    return estimate.time.seconds, estimate.bytes / GIB


def _places(estimates: Iterable[LayoutEstimate]) -> tuple[list[float], list[float]]:
    places = list(map(_place, estimates))
    return [seconds for seconds, _ in places], [size for _, size in places]


def _save(figure: Figure, picture: Path) -> None:
    with durable.replacing(picture) as temporary:
        figure.savefig(temporary, format="png")
