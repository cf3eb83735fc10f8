"""Which labels were taken for which, as a picture. Imported where it is used: matplotlib is slow to
load."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from data import durable

MOST_NUMBERS = 12
"""Labels of which each cell has its count."""


def draw(names: Sequence[str], table: np.ndarray, picture: Path) -> None:
    """Draw the counts [C, C], a row for each right label, in shares of the row, as a PNG."""
    size = min(12.0, 3.0 + 0.45 * len(names))
    figure = Figure(figsize=(size, size), dpi=150, layout="constrained")
    axes = figure.subplots()
    shares = table / np.maximum(1, table.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    words = [name[:20].replace("$", r"\$") for name in names]
    axes.set_xticks(range(len(words)), words, rotation=90)
    axes.set_yticks(range(len(words)), words)
    axes.set_xlabel("predicted")
    axes.set_ylabel("right")
    if len(names) <= MOST_NUMBERS:
        for (row, column), count in np.ndenumerate(table):
            ink = "white" if shares[row, column] > 0.5 else "#1d252c"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=ink, fontsize=8)
    with durable.replacing(picture) as temporary:
        figure.savefig(temporary, format="png")
