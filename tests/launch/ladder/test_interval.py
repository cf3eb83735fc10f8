"""Intervals from residuals."""

import numpy as np
import pytest

from launch.ladder.interval import DRAWS, Estimated, about, redrawn
from launch.ladder.runs import Table, cells
from tests.bench.ladder_runs import TRUTH, sound


def test_residuals_of_a_cell_stay_together() -> None:
    three_seeds = sound(np.zeros(35)).take(np.repeat(np.arange(35), 3))
    shift = np.repeat(np.arange(35) / 1000, 3)
    losses = redrawn(three_seeds._replace(loss=three_seeds.loss + shift), TRUTH)
    drawn = (losses - three_seeds.loss).reshape(DRAWS, 35, 3)
    assert np.allclose(drawn, drawn[..., :1], atol=1e-12)
    assert set(np.round(drawn.ravel() * 1000).astype(int)) == set(range(35))
    assert drawn.mean() == pytest.approx(shift.mean(), rel=0.02)


def test_cells_are_the_runs_of_equal_size_and_tokens_in_any_order() -> None:
    params, tokens = np.array([2.0, 1.0, 2.0, 1.0]), np.array([5.0, 5.0, 5.0, 6.0])
    groups = cells(Table(params, tokens, params * tokens, tokens))
    assert sorted(map(list, groups)) == [[0, 2], [1], [3]]


def test_many_cells_give_the_quantiles_and_few_a_wider_interval() -> None:
    draws = np.random.default_rng(0).normal(5, 0.1, 4000)
    wide, narrow = about(5.0, draws, 7), about(5.0, draws, 100_000)
    assert narrow.low == pytest.approx(5 - 0.196, rel=2e-3)
    assert narrow.high == pytest.approx(5 + 0.196, rel=2e-3)
    # Student's t of 7 is 1.21 times the normal's quantile, and 12 residuals stand for 7.
    assert np.log(wide.high / 5) == pytest.approx(0.0392 * 1.207 * np.sqrt(12 / 7), rel=0.05)


def test_what_may_be_negative_has_an_interval_too() -> None:
    interval = about(0.1, np.array([-0.2, 0.0, 0.1, 0.2]), 50)
    assert interval.low < -0.15 and interval.high > 0.2


def test_a_stretched_interval_keeps_its_value() -> None:
    value, low, high = Estimated(2.0, 1.0, 4.0).stretched(2.0)
    assert (value, low, high) == pytest.approx((2.0, 0.5, 8.0))
    assert Estimated(1.0, -1.0, 2.0).stretched(2.0) == (1.0, -3.0, 3.0)
    assert Estimated(2.0, 1.0, 4.0).stretched(1.0) == (2.0, 1.0, 4.0)
