"""What fills a chip's memory, as a picture. Imported where it is used: matplotlib is slow to
load."""

from pathlib import Path

from matplotlib.figure import Figure

from data import durable
from launch.plan.plan import Plan
from launch.process.mesh import shown
from train.report.numbers import size_unit

COLORS = {
    "parameters": "#1f5fa8",
    "optimizer": "#8fb3d9",
    "moving average": "#7d6b9e",
    "batch": "#5b6770",
    "padding of these": "#c9ced1",
    "gradients": "#6a9f58",
    "activations and temporaries": "#d9b44a",
}
LIMIT = "#d1495b"


def draw(plan: Plan, picture: Path) -> None:
    """Draw one stacked bar of the parts against what the chip has, as a PNG."""
    figure = Figure(figsize=(8, 3), dpi=150, layout="constrained")
    axes = figure.subplots()
    name, factor = size_unit(plan.fit.peak)
    left = 0.0
    for part in plan.fit.parts:
        wide = part.bytes / factor
        label = f"{part.name} {wide:,.2f} ({part.origin})"
        axes.barh(0, wide, left=left, color=COLORS[part.name], label=label, height=0.6)
        left += wide
    limit = plan.fit.limit * plan.fit.share / factor
    there = "there is" if plan.fit.share == 1 else f"JAX takes {plan.fit.share:.0%} of a GPU:"
    axes.axvline(limit, color=LIMIT, lw=1.6, label=f"{there} {limit:,.2f} {name}")
    axes.set_xlim(0, 1.05 * max(left, limit))
    axes.set_yticks([])
    axes.set_xlabel(f"{name} of a device")
    axes.spines[["left", "right", "top"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    title = f"{plan.config.preset} on {plan.topology.told}, mesh {shown(plan.mesh)}"
    figure.suptitle(f"{title}: {plan.fit.verdict}", fontsize=10)
    with durable.replacing(picture) as temporary:
        figure.savefig(temporary, format="png")
