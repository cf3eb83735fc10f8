"""Memory against step time of every layout of a search, as a picture. Imported where it is used:
matplotlib is slow to load."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from data import durable
from launch.plan.search import Estimate, Search, fits
from launch.process.mesh import shown
from train.report.numbers import GIB

COLORS = {"none": "#d9b44a", "dots": "#6a9f58", "full": "#1f5fa8"}
INK, LIMIT = "#26323c", "#d1495b"
NEAR = 10.0
"""Times the best step: slower layouts are left out of the picture."""


def draw(search: Search, picture: Path) -> None:
    """Draw the estimates as points, those that nothing beats in both joined by a line, and what
    the compiler says of the few as rings joined to theirs, as a PNG."""
    topology = search.best.topology
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    fastest = search.estimates[0].seconds
    shown_ones = [e for e in search.estimates if e.seconds <= NEAR * fastest]
    for remat, color in COLORS.items():
        mine = [e for e in shown_ones if e.config.model.remat == remat]
        axes.plot(
            [e.seconds for e in mine], [e.bytes / GIB for e in mine], ".", color=color, ms=5,
            alpha=0.7, label=f"remat {remat}, by arithmetic",
        )  # fmt: skip
    front = pareto(shown_ones)
    axes.plot(
        [e.seconds for e in front], [e.bytes / GIB for e in front], color=INK, lw=0.8,
        drawstyle="steps-post", label="none is better in both",
    )  # fmt: skip
    for estimate, plan in search.plans:
        if not fits(plan):
            continue
        at = (plan.time.seconds, plan.fit.peak / GIB)
        axes.plot(
            [estimate.seconds, at[0]], [estimate.bytes / GIB, at[1]], color=INK, lw=0.6, ls=":"
        )
        best = plan is search.best
        axes.plot(
            *at,
            "*" if best else "o",
            color=INK,
            mfc=LIMIT if best else "white",
            ms=13 if best else 7,
        )
    axes.plot([], [], "o", color=INK, mfc="white", ms=7, label="compiled, by the compiler")
    chosen = f"chosen: {shown(search.best.mesh)}, remat {search.best.config.model.remat}"
    axes.plot([], [], "*", color=INK, mfc=LIMIT, ms=13, label=chosen)
    axes.axhline(
        search.best.fit.most / GIB, color=LIMIT, lw=1.4, label="what a device gives a step"
    )
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
    figure.suptitle(
        f"{search.best.config.preset} on {topology.told}: {len(search.estimates):,} layouts",
        fontsize=10,
    )
    with durable.replacing(picture) as temporary:
        figure.savefig(temporary, format="png")


def pareto(estimates: list[Estimate]) -> list[Estimate]:
    """Those that no other is both faster and smaller than, the fastest first."""
    front: list[Estimate] = []
    for estimate in sorted(estimates, key=lambda e: (e.seconds, e.bytes)):
        if not front or estimate.bytes < front[-1].bytes:
            front.append(estimate)
    return front
