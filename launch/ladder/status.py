"""`meshloom ladder status`: the cells of a study as a table and a picture."""

import math
import textwrap
from collections import Counter
from statistics import mean, median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from launch.ladder import chart
from launch.ladder.cells import Cell, predecessor
from launch.ladder.claims import clock
from launch.ladder.directory import Known, StudyDirectory
from launch.ladder.runs import budgets
from launch.process.typed import near

COLORS = {"done": "#3b7a57", "running": "#e0a030", "failed": "#b3262f", "waiting": "#b8bec4"}
SEEDS_APART = 1.06
"""Ratio of the places of two seeds of a cell in the picture."""
HEAD = f"{'cell':<28}{'FLOPs':>9}{'state':>9}{'step':>16}{'loss':>9}"


@chart.styled()
def show(study: StudyDirectory) -> None:
    """Print the table, with reasons below their cells, and draw status.png."""
    now = clock(study.path)
    known = [study.known(cell, now) for cell in study.cells]
    print(HEAD + "\n" + "-" * len(HEAD))
    for row in known:
        cell, steps = row.cell, row.cell.config.train.steps
        name = cell.name + ("*" if cell.held_out else "")
        done = steps if row.result else study.last_step(cell)
        loss = f"{row.result['loss']:.4f}" if row.result else ""
        line = f"{name:<28}{cell.flops:>9.3g}{row.state:>9}{f'{done:,}/{steps:,}':>16}{loss:>9}"
        print(line.rstrip())
        for line in textwrap.wrap(row.why, 76):
            print(f"    {line}")
    counts = Counter(row.state for row in known)
    print("\n" + ", ".join(f"{counts[state]} {state}" for state in COLORS if counts[state]))
    if (hours := hours_left(study, known)) is not None:
        print(f"about {in_words(hours)} of training are left, one cell at a time")
    if any(row.cell.held_out for row in known):
        print("* held out: trained once it is predicted")
    if counts["failed"]:
        print(study.remedy)
    picture = study.path / "status.png"
    figure = Figure(figsize=(7.2, 4.2), dpi=150)
    draw(figure.subplots(), known)
    try:
        figure.savefig(picture)
    except OSError as error:
        print(f"no picture: {picture}: {error.strerror}")
    else:
        print(f"picture: {near(picture)}")


def in_words(hours: float) -> str:
    """Hours, or minutes where they are fewer than one hour."""
    return f"{hours:.2g} hours" if hours >= 1 else f"{60 * hours:.2g} minutes"


def hours_left(study: StudyDirectory, known: list[Known]) -> float | None:
    """Hours of all cells that run or wait, by the pace of the nearest width that was trained; None
    if there is none, or nothing is left."""
    paces: dict[int, list[float]] = {}
    for row in known:
        records = study.records(row.cell)
        seconds = [float(r["step_seconds"]) for r in records if "step_seconds" in r]
        if seconds:
            flops_per_step = row.cell.flops / row.cell.config.train.steps
            paces.setdefault(row.cell.width, []).append(median(seconds) / flops_per_step)
    left = [row.cell for row in known if row.state in ("running", "waiting")]
    if not paces or not left:
        return None

    def seconds_of(cell: Cell) -> float:
        width = min(paces, key=lambda width: abs(math.log(width / cell.width)))
        before = predecessor(cell, study.cells)
        done = max(study.last_step(cell), before.branching if before else 0)
        return (1 - done / cell.config.train.steps) * cell.flops * median(paces[width])

    return sum(map(seconds_of, left)) / 3600


def draw(axes: Axes, known: list[Known]) -> None:
    """Every cell by its parameters and FLOPs, in the colour of its state; seeds side by side, with
    the mean of their losses."""
    seeds: dict[tuple[int, float], list[Known]] = {}
    for row in known:
        seeds.setdefault((row.cell.parameters, row.cell.flops), []).append(row)
    for state, color in COLORS.items():
        places = [
            (parameters * SEEDS_APART ** (place - (len(rows) - 1) / 2), flops)
            for (parameters, flops), rows in seeds.items()
            for place, row in enumerate(rows)
            if row.state == state
        ]
        if places:
            label = f"{len(places)} {state}"
            axes.scatter(*zip(*places, strict=True), s=80, color=color, label=label, zorder=2)
    for place, rows in seeds.items():
        if losses := [row.result["loss"] for row in rows if row.result]:
            above = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center"}
            axes.annotate(f"{mean(losses):.3f}", place, **above, size=7)
    sizes = sorted({row.cell.parameters for row in known})
    computes = budgets(np.array([row.cell.flops for row in known]))
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="training FLOPs")
    axes.set_xticks(sizes, [EngFormatter(places=0, sep="")(size) for size in sizes], rotation=45)
    axes.set_yticks([at.flops for at in computes], [f"{at.flops:.2g}" for at in computes])
    axes.minorticks_off()
    axes.margins(0.12)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
