"""Which labels were taken for which, as a picture. Imported where it is used: matplotlib is slow to
load."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from data import durable

MOST_NUMBERS = 12
"""Labels of which each cell has its count."""
MOST_NAMES = 100
"""Labels whose names can be read next to each other."""
MOST_LINES, MOST_LETTERS = 3, 20
"""Pairs of labels that are named, and of each as many letters."""


def in_words(names: Sequence[str], table: np.ndarray) -> list[str]:
    """Which labels were taken for others most often, of counts [C, C], a row for each right one."""
    wrong = table * (1 - np.eye(len(table), dtype=table.dtype))
    lines = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:MOST_LINES]:
        right, said = divmod(int(place), len(table))
        if count := int(wrong[right, said]):
            first, second = (names[each][:MOST_LETTERS] for each in (right, said))
            lines.append(f"{first} taken for {second}: {count:,} of {table[right].sum():,}")
    return lines


def draw(names: Sequence[str], table: np.ndarray, picture: Path) -> None:
    """Draw the counts [C, C], a row for each right label, in shares of the row, as a PNG."""
    size = min(12.0, 3.0 + 0.45 * len(names))
    figure = Figure(figsize=(size, size), dpi=150, layout="constrained")
    axes = figure.subplots()
    shares = table / np.maximum(1, table.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    words = [name[:MOST_LETTERS].replace("$", r"\$") for name in names]
    places = range(len(words)) if len(words) <= MOST_NAMES else []
    axes.set_xticks(places, words[: len(places)], rotation=90)
    axes.set_yticks(places, words[: len(places)])
    axes.set_xlabel("predicted")
    axes.set_ylabel("right")
    if len(names) <= MOST_NUMBERS:
        for (row, column), count in np.ndenumerate(table):
            ink = "white" if shares[row, column] > 0.5 else "#1d252c"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=ink, fontsize=8)
    with durable.replacing(picture) as temporary:
        figure.savefig(temporary, format="png")
