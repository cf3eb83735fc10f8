"""Draws how one block lies over fsdp 2 x tensor 2: `python -m tests.published.sharding
docs/sharding.png`."""

import sys
from itertools import product
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import PartitionSpec
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from launch.presets.preset import preset
from model.sharding import abstract_mesh, spec
from model.weights import weights

FSDP, TENSOR = 2, 2
COLORS = ("#8fb8de", "#d8e6f3", "#f2b880", "#fbe6d0")
INK, COMMUNICATION = "#26323c", "#b3262f"
D, HEADS, F, ROWS, GAP = 1.5, 1.5, 2.4, 1.1, 1.15
BOTTOM, MIDDLE, TOP = 0.0, 1.75, 2.55

Cells = dict[tuple[int, int], list[int]]


class Product(NamedTuple):
    """One step through the block: the weight that is multiplied and the activation it makes."""

    weight: str
    height: float
    result: str
    width: float
    layout: PartitionSpec
    reduced: str = ""
    note: str = ""


def cells(layout: PartitionSpec) -> Cells:
    """Devices that hold each block of a matrix, by block row and column.

    Device f * TENSOR + t stands at f on `fsdp` and t on `tensor`.
    """
    tiles: Cells = {}
    for f, t in product(range(FSDP), range(TENSOR)):
        place = {"fsdp": f, "tensor": t}
        row, column = (0 if axis is None else place[axis] for axis in layout)
        tiles.setdefault((row, column), []).append(f * TENSOR + t)
    return tiles


def matrices() -> dict[str, PartitionSpec]:
    """Layout of every matrix of a Llama block by its name, as [in, out]: only those are cut."""
    with jax.sharding.use_abstract_mesh(abstract_mesh(fsdp=FSDP, tensor=TENSOR)):
        model = jax.eval_shape(lambda: preset("llama3-8b").model.build(jax.random.key(0)))
    return {
        row.name.split("/")[-1]: PartitionSpec(*(axis for axis in row.layout if axis is not None))
        for row in weights(model)
        if "/w_" in row.name
    }


def activation(channels: str | None) -> PartitionSpec:
    """Layout of an activation as [B T, channels]."""
    with jax.sharding.use_abstract_mesh(abstract_mesh(fsdp=FSDP, tensor=TENSOR)):
        return spec("batch", channels)


def draw(picture: Path) -> None:
    """Write the picture as a PNG."""
    figure = Figure(figsize=(11, 5.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    layouts = matrices()
    hidden, heads, wide = (activation(name) for name in (None, "heads", "mlp"))
    products = [
        Product(
            "w_q",
            D,
            "q, k, v [B T, heads]",
            HEADS,
            heads,
            note="attention runs here:\nown rows, own heads",
        ),
        Product("w_o", HEADS, "x [B T, D]", D, hidden, reduced="all-reduce\nover tensor"),
        Product("w_up", D, "h [B T, F]", F, wide, note="activation and gate\nrun here"),
        Product("w_down", F, "x [B T, D]", D, hidden, reduced="all-reduce\nover tensor"),
    ]
    titles = {"w_q": "w_q, w_k, w_v", "w_up": "w_up, w_gate"}
    _activation(axes, 0.0, D, "x [B T, D]", hidden)
    right = D
    for step in products:
        left = right + GAP
        _between(axes, right, left, step.reduced)
        title = titles.get(step.weight, step.weight)
        _matrix(axes, right + GAP / 2, step.width, step.height, layouts[step.weight], title)
        _activation(axes, left, step.width, step.result, step.layout)
        axes.text(left + step.width / 2, BOTTOM - 0.42, step.note, ha="center", va="top", color=INK)
        right = left + step.width
    axes.text(0, TOP + 2.75, "weights [in, out]", weight="bold", va="top")
    axes.text(0, BOTTOM + ROWS + 0.3, "activations", weight="bold", va="top")
    _blocks(axes, right - 0.75, TOP + 0.5, 0.75, 0.75, PartitionSpec("fsdp", "tensor"))
    axes.text(right - 0.375, TOP + 1.32, "tensor", ha="center", va="bottom", size=9)
    axes.text(right - 0.82, TOP + 0.875, "fsdp", ha="right", va="center", size=9)
    axes.text(right - 0.375, TOP + 0.4, "the devices", ha="center", va="top", size=9)
    axes.set_xlim(-0.1, right + 0.1)
    axes.set_ylim(BOTTOM - 1.0, TOP + 2.8)
    axes.set_aspect("equal")
    axes.axis("off")
    figure.savefig(picture, format="png")


def _activation(axes: Axes, x: float, width: float, name: str, layout: PartitionSpec) -> None:
    _blocks(axes, x, BOTTOM, width, ROWS, layout)
    axes.text(x + width / 2, BOTTOM - 0.07, name, ha="center", va="top")


def _blocks(
    axes: Axes, x: float, y: float, width: float, height: float, layout: PartitionSpec
) -> None:
    """A matrix with its blocks in the colours and numbers of the devices that hold them."""
    tiles = cells(layout)
    rows = 1 + max(row for row, _ in tiles)
    columns = 1 + max(column for _, column in tiles)
    w, h = width / columns, height / rows
    for (row, column), devices in tiles.items():
        corner = (x + column * w, y + height - (row + 1) * h)
        first, last = COLORS[devices[0]], COLORS[devices[-1]]
        axes.add_patch(Rectangle(corner, w, h, fc=first, ec=last, hatch="//", lw=0))
        axes.add_patch(Rectangle(corner, w, h, fill=False, ec=INK, lw=1))
        label = " and ".join(map(str, devices))
        axes.text(corner[0] + w / 2, corner[1] + h / 2, label, ha="center", va="center")


def _matrix(
    axes: Axes, middle: float, width: float, height: float, layout: PartitionSpec, name: str
) -> None:
    """A weight above the step it takes part in, gathered on the way down."""
    _blocks(axes, middle - width / 2, TOP, width, height, layout)
    axes.text(middle, TOP + height + 0.08, name, ha="center", va="bottom")
    _arrow(axes, (middle, TOP - 0.03), (middle, BOTTOM + ROWS / 2 + 0.1))
    axes.text(
        middle, MIDDLE, "all-gather\nover fsdp", ha="center", va="center", color=COMMUNICATION,
        backgroundcolor="white", size=9,
    )  # fmt: skip


def _between(axes: Axes, start: float, stop: float, note: str) -> None:
    y = BOTTOM + ROWS / 2
    _arrow(axes, (start + 0.05, y), (stop - 0.05, y))
    axes.text(
        (start + stop) / 2, y - 0.12, note, ha="center", va="top", color=COMMUNICATION, size=9
    )


def _arrow(axes: Axes, start: tuple[float, float], stop: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, stop, arrowstyle="-|>", mutation_scale=12, color=INK))


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
