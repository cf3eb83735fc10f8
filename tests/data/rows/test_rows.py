"""Rows of another kind than tokens, which say no more than what their examples are."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from data.order import Order
from data.rows.rows import Rows, Split


class NumberBatch(NamedTuple):
    numbers: Any
    weights: Any

    axes = {"numbers": ("batch",), "weights": ("batch",)}  # noqa: RUF012


class NumberRows(Rows[NumberBatch]):
    """Rows that are the numbers of their examples."""

    def __init__(self, split: Split, count: int) -> None:
        super().__init__(split, Order([count], seed=3), f"numbers {count}")

    def batch(self, indices: np.ndarray) -> NumberBatch:
        there = self.present(indices)
        numbers = np.zeros(len(indices), np.int32)
        numbers[there] = self.examples(indices[there])
        return NumberBatch(numbers, there.astype(np.float32))


def test_training_rows_never_end_and_skip_the_ranges() -> None:
    rows = NumberRows("train", 7)
    seen = [batch.numbers for batch in itertools.islice(rows.batches(0, 4, np.arange(4)), 7)]
    epochs = np.concatenate(seen).reshape(4, 7)
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    left = next(rows.batches(0, 4, np.arange(4), ((1, 3),))).numbers
    np.testing.assert_array_equal(left, epochs.ravel()[[0, 3, 4, 5]])


def test_held_out_rows_come_once_and_the_rest_weighs_nothing() -> None:
    batches = list(NumberRows("held_out", 7).batches(0, 4, np.arange(4)))
    numbers, weights = (np.concatenate(field) for field in zip(*batches, strict=True))
    assert weights.tolist() == [1] * 7 + [0]
    assert sorted(numbers[:7]) == list(range(7))


def test_what_a_run_asks_of_rows_has_an_answer() -> None:
    rows = NumberRows("train", 1234)
    assert rows.describe() == ["data: 1,234 rows, each epoch"]
    assert rows.meta() == {"data_digest": "numbers 1234"}
    assert rows.origin(5) == f"examples at {rows.batch(np.array([5])).numbers[0]}"
    assert rows.tokenizer is None and not rows.counts(np.arange(3)) and rows.check(None) is None
