"""Both fits of the surface find the constants that made the losses."""

import numpy as np
import pytest

from launch.ladder.runs import Cost, Table, cost_of
from launch.ladder.surface import fit_huber, fit_squares
from tests.bench.ladder_runs import TARGET, TRUTH, sound

CLEAN = sound(np.zeros(35))


@pytest.mark.parametrize("fit", [fit_squares, fit_huber])
def test_clean_losses_give_their_surface(fit) -> None:
    found = fit(CLEAN)
    assert np.allclose(found, TRUTH, rtol=1e-3)
    true = TRUTH.optimal_params(TARGET)
    assert abs(found.optimal_params(TARGET) / true - 1) < 1e-3


@pytest.mark.parametrize("fit", [fit_squares, fit_huber])
def test_tokens_in_other_units_move_their_factor_alone(fit) -> None:
    found, plain = fit(CLEAN._replace(tokens=CLEAN.tokens / 1000)), fit(CLEAN)
    assert found.of_tokens * 1000**plain.beta == pytest.approx(plain.of_tokens, rel=1e-3)
    others = [0, 1, 3, 4]
    assert np.allclose(np.array(found)[others], np.array(plain)[others], rtol=1e-4)


def test_rows_may_come_in_any_order_and_twice() -> None:
    noisy = sound(np.random.default_rng(0).normal(0, 0.005, 35))
    rows = np.random.default_rng(1).permutation(np.tile(np.arange(35), 2))
    for fit in (fit_squares, fit_huber):
        assert np.allclose(fit(noisy.take(rows)), fit(noisy), rtol=1e-3)


def test_a_shift_of_all_losses_moves_the_irreducible_loss_alone() -> None:
    noisy = sound(np.random.default_rng(0).normal(0, 0.005, 35))
    found, plain = fit_squares(noisy._replace(loss=noisy.loss + 0.5)), fit_squares(noisy)
    assert found.irreducible == pytest.approx(plain.irreducible + 0.5)
    assert np.allclose(found[1:], plain[1:], rtol=1e-5)


def test_the_optimum_is_the_lowest_loss_that_the_compute_buys() -> None:
    cost = Cost(20.0, -0.05)
    sizes = np.geomspace(1e8, 1e11, 20001)
    losses = TRUTH.loss(sizes, cost.tokens(1e22, sizes))
    assert TRUTH.optimal_params(1e22, cost) == pytest.approx(sizes[losses.argmin()], rel=1e-3)
    assert np.isnan(TRUTH._replace(of_params=-1.0).optimal_params(1e22))


def test_the_cost_of_runs_is_their_own() -> None:
    told = cost_of(CLEAN)
    assert told.factor == pytest.approx(6) and told.exponent == pytest.approx(0, abs=1e-9)
    odd = CLEAN.flops * CLEAN.params**-0.1
    odd[:5] *= 3
    told = cost_of(CLEAN._replace(flops=odd))
    assert told.exponent == pytest.approx(-0.1) and told.factor == pytest.approx(6)
    same = Table(*(column[:1].repeat(3) for column in CLEAN))
    assert cost_of(same) == pytest.approx((6, 0))
