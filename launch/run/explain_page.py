"""An explanation as a page of its own and as a picture. Imported where it is used: matplotlib is
slow to load."""

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data import durable
from launch.page import Markup, drawing, element, note, page, section
from launch.run.explain import Explained

VISIBLE = str.maketrans({" ": "\u2423", "\n": "\u21b5"})
"""White space as signs, for labels."""
MOST_LABELS = 40
"""Tokens of which each has its label in a picture."""


def write_page(explained: Explained, title: str, path: Path) -> None:
    """The text in the colours of its attributions, the rollout and each layer, as one HTML file."""
    numbers = explained.numbers
    layers = [
        drawing(_svg(layer_picture(explained, n)), f"layer{n}", f"attention of layer {n + 1}")
        for n in range(len(numbers.shares))
    ]
    rolled = drawing(_svg(rollout_picture(explained)), "rollout", "attention through all layers")
    text = page(
        title,
        element("h1", title),
        section("Where it comes from", coloured(explained), note(summary(explained))),
        section("Attention through all layers", element("figure", rolled), note(ROLLOUT)),
        section("Attention of each layer", *(element("figure", each) for each in layers)),
    )
    durable.write(path, text)


ROLLOUT = (
    "Row: the last state of a token; column: the token of the text that it takes from. The product "
    "over layers of the mean of all heads, half of it the residual stream (Abnar & Zuidema 2020)."
)


def summary(explained: Explained) -> str:
    """The scores, and whether the attributions add up to their difference, in a sentence."""
    numbers = explained.numbers
    return (
        f"{explained.answer}: score {float(numbers.score):.4f}, with every token hidden "
        f"{float(numbers.baseline):.4f}; the attributions sum to "
        f"{float(np.sum(numbers.attributions)):.4f}, off by {explained.gap:.2%} of the difference."
    )


def coloured(explained: Explained) -> Markup:
    """The tokens, red where they raise the score and blue where they lower it."""
    values = np.asarray(explained.numbers.attributions)
    most = max(float(np.abs(values).max()), 1e-12)
    spans = [
        element(
            "span",
            piece,
            style=f"background: rgba({'200,40,40' if value > 0 else '40,80,200'},"
            f"{abs(value) / most:.2f})",
            title=f"{value:+.4f}",
        )
        for piece, value in zip(explained.pieces, values.tolist(), strict=True)
    ]
    return element("p", *spans, style="white-space: pre-wrap")


def write_picture(explained: Explained, path: Path) -> None:
    """Attributions and rollout as a PNG."""
    figure = Figure(figsize=(9, 8), dpi=150, layout="constrained")
    bars, square = figure.subplots(2, 1, height_ratios=(1, 2))
    values = np.asarray(explained.numbers.attributions)
    colours = ["#c82828" if value > 0 else "#2850c8" for value in values]
    bars.bar(range(len(values)), values, color=colours)
    bars.set_ylabel("attribution")
    bars.set_title(f"integrated gradients of {explained.answer}", fontsize=10)
    _name(bars, explained.pieces, rows=False)
    _draw(square, np.asarray(explained.numbers.rollout), explained.pieces, "attention, rolled out")
    with durable.replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def rollout_picture(explained: Explained) -> Figure:
    """The rollout alone."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    _draw(figure.subplots(), np.asarray(explained.numbers.rollout), explained.pieces, "")
    return figure


def layer_picture(explained: Explained, layer: int) -> Figure:
    """Every head of a layer."""
    shares = np.asarray(explained.numbers.shares)[layer]
    columns = min(4, len(shares))
    rows = -(-len(shares) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.8 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for head, axes in enumerate(grid.flat):
        if head < len(shares):
            _draw(axes, shares[head], [], f"head {head + 1}")
        else:
            axes.set_axis_off()
    figure.suptitle(f"layer {layer + 1}", fontsize=10)
    return figure


def _draw(axes: Axes, values: np.ndarray, pieces: list[str], title: str) -> None:
    axes.imshow(values, cmap="Blues", vmin=0, aspect="equal")
    axes.set_title(title, fontsize=9)
    _name(axes, pieces, rows=True)


def _name(axes: Axes, pieces: list[str], *, rows: bool) -> None:
    """Label places by their tokens if they are few, else by their numbers."""
    if 0 < len(pieces) <= MOST_LABELS:
        # matplotlib takes a dollar for the beginning of a formula.
        words = [piece.replace("$", r"\$").translate(VISIBLE) for piece in pieces]
        axes.set_xticks(range(len(words)), words, rotation=90, fontsize=7)
        if rows:
            axes.set_yticks(range(len(words)), words, fontsize=7)


def _svg(figure: Figure) -> str:
    with io.StringIO() as text:
        figure.savefig(text, format="svg")
        return text.getvalue()
