"""Positions and rows, held against counting row by row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.order import Ranges, in_words, joined, rows_at

pairs = st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda p: (p[0], p[0] + p[1]))


@st.composite
def ranges(draw: st.DrawFn) -> Ranges:
    skipped: Ranges = ()
    for first, after in draw(st.lists(pairs, max_size=5)):
        skipped = joined(skipped, first, after)
    return skipped


def members(skipped: Ranges) -> set[int]:
    return {row for first, after in skipped for row in range(first, after)}


@given(skipped=ranges(), more=pairs)
def test_joined_ranges_have_the_same_rows_in_order_and_apart(
    skipped: Ranges, more: tuple[int, int]
) -> None:
    actual = joined(skipped, *more)
    assert members(actual) == members(skipped) | set(range(*more))
    ends = [end for pair in actual for end in pair]
    assert ends == sorted(set(ends))


@given(skipped=ranges())
def test_positions_count_every_row_that_is_not_skipped_once_and_in_order(skipped: Ranges) -> None:
    left = [row for row in range(300) if row not in members(skipped)]
    positions = np.arange(len(left))
    assert rows_at(positions, skipped).tolist() == left
    assert rows_at(positions, [list(pair) for pair in skipped]).tolist() == left


def test_rows_are_printed_as_ranges() -> None:
    assert in_words(rows_at(np.arange(16, 24), ())) == "16 to 23"
    assert in_words(rows_at(np.arange(16, 24), ((20, 90),))) == "16 to 19 and 90 to 93"
