"""Rows of the training order that a run leaves out, and how the others are counted."""

from collections.abc import Sequence

import numpy as np

Ranges = tuple[tuple[int, int], ...]
"""First row and the first after it of each range; in order, apart from each other."""


def rows_at(positions: np.ndarray, skipped: Sequence[Sequence[int]]) -> np.ndarray:
    """Numbers of the rows at `positions`, which count the rows that are not in `skipped`."""
    rows = np.asarray(positions)
    for first, after in skipped:
        rows = np.where(rows >= first, rows + (after - first), rows)
    return rows


def joined(skipped: Sequence[Sequence[int]], first: int, after: int) -> Ranges:
    """`skipped` and the rows from `first` up to `after`, as ranges that do not touch."""
    found: list[tuple[int, int]] = []
    for low, high in sorted([*map(tuple, skipped), (first, after)]):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def told(rows: np.ndarray) -> str:
    """Increasing row numbers in words: `16 to 23`, `16 to 19 and 40 to 43`."""
    parts = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return " and ".join(f"{part[0]} to {part[-1]}" for part in parts)
