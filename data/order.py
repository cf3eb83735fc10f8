"""Which example each row of the order of training is, and which rows a run leaves out."""

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from data.cache import digest_of

if TYPE_CHECKING:
    import grain

# Raised when the meaning of a row number changes.
ORDER = 2
# Grain permutes numbers of 32 bits.
MOST_EXAMPLES = 2**32

Ranges = tuple[tuple[int, int], ...]
"""First row and the first after it of each range; in order, apart from each other."""


class Order:
    """Numbers of rows to numbers of examples, which are counted from 0 through all sources.

    With weights, each source is shuffled and repeated, with a new seed each epoch, and only then
    mixed. Without, the examples of all sources are shuffled and repeated as one, so that a few
    batches measure all sources.
    """

    def __init__(self, counts: Sequence[int], *, seed: int, weights: Sequence[float] = ()) -> None:
        """`counts` are the examples of each source."""
        self._ends = [0, *accumulate(counts)]
        self._seed = seed
        self._weights = weights
        self.num_examples = self._ends[-1]

    def examples(self, rows: np.ndarray) -> np.ndarray:
        """Example of each of these rows, int64."""
        numbers = self._numbers
        return np.array([numbers[row] for row in rows.tolist()], np.int64)

    @cached_property
    def _numbers(self) -> "grain.MapDataset[int]":
        # Grain takes a second to import, and brings jax with it: not before the first batch.
        import grain

        def endless(number: int, start: int, stop: int) -> "grain.MapDataset[int]":
            # Grain adds the epoch to the seed, so that near seeds would share their epochs.
            seed = int(digest_of(self._seed, number)[:8], 16)
            return grain.MapDataset.range(start, stop).shuffle(seed).repeat()

        if not self._weights:
            return endless(0, 0, self.num_examples)
        sources = [endless(i, *ends) for i, ends in enumerate(pairwise(self._ends))]
        return grain.MapDataset.mix(sources, self._weights)


def rows_at(positions: np.ndarray, skipped: Sequence[Sequence[int]]) -> np.ndarray:
    """Numbers of the rows at `positions`, which count the rows that are not in `skipped`."""
    rows = np.asarray(positions)
    for first, after in skipped:
        rows = np.where(rows >= first, rows + (after - first), rows)
    return rows


def joined(skipped: Sequence[Sequence[int]], first: int, after: int) -> Ranges:
    """`skipped` and the rows from `first` up to `after`, as ranges that do not touch."""
    ranges: list[tuple[int, int]] = []
    for low, high in sorted([*map(tuple, skipped), (first, after)]):
        if ranges and low <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], high))
        else:
            ranges.append((low, high))
    return tuple(ranges)


def in_words(rows: np.ndarray) -> str:
    """Increasing row numbers in words: `16 to 23`, `16 to 19 and 40 to 43`."""
    parts = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return " and ".join(f"{part[0]} to {part[-1]}" for part in parts)
