"""Both fits of the surface give the constants that losses were drawn from, and none is cheaper."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from launch.ladder.runs import Cost, Table, cost_of
from launch.ladder.surface import EXPONENTS, HUBER, Surface, fit_huber, fit_squares
from tests.bench.ladder_runs import TARGET, TRUTH, sound

CLEAN = sound(np.zeros(35))


@pytest.mark.parametrize("fit", [fit_squares, fit_huber])
def test_clean_losses_give_their_surface(fit) -> None:
    surface = fit(CLEAN)
    assert np.allclose(surface, TRUTH, rtol=1e-6)
    true = TRUTH.optimal_params(TARGET)
    assert abs(surface.optimal_params(TARGET) / true - 1) < 1e-6


@pytest.mark.parametrize("fit", [fit_squares, fit_huber])
def test_tokens_in_other_units_move_their_factor_alone(fit) -> None:
    scaled, plain = fit(CLEAN._replace(tokens=CLEAN.tokens / 1000)), fit(CLEAN)
    assert scaled.of_tokens * 1000**plain.beta == pytest.approx(plain.of_tokens, rel=1e-3)
    others = [0, 1, 3, 4]
    assert np.allclose(np.array(scaled)[others], np.array(plain)[others], rtol=1e-4)


def test_rows_may_come_in_any_order_and_twice() -> None:
    noisy = sound(np.random.default_rng(0).normal(0, 0.005, 35))
    rows = np.random.default_rng(1).permutation(np.tile(np.arange(35), 2))
    for fit in (fit_squares, fit_huber):
        assert np.allclose(fit(noisy.take(rows)), fit(noisy), rtol=1e-3)


def test_a_shift_of_all_losses_moves_the_irreducible_loss_alone() -> None:
    noisy = sound(np.random.default_rng(0).normal(0, 0.005, 35))
    shifted, plain = fit_squares(noisy._replace(loss=noisy.loss + 0.5)), fit_squares(noisy)
    assert shifted.irreducible == pytest.approx(plain.irreducible + 0.5)
    assert np.allclose(shifted[1:], plain[1:], rtol=1e-5)


def test_the_optimum_is_the_lowest_loss_that_the_compute_buys() -> None:
    cost = Cost(20.0, -0.05)
    sizes = np.geomspace(1e8, 1e11, 20001)
    losses = TRUTH.loss(sizes, cost.tokens(1e22, sizes))
    assert TRUTH.optimal_params(1e22, cost) == pytest.approx(sizes[losses.argmin()], rel=1e-3)
    assert np.isnan(TRUTH._replace(of_params=-1.0).optimal_params(1e22))


def test_the_cost_of_runs_is_their_own() -> None:
    cost = cost_of(CLEAN)
    assert cost.factor == pytest.approx(6) and cost.exponent == pytest.approx(0, abs=1e-9)
    odd = CLEAN.flops * CLEAN.params**-0.1
    odd[:5] *= 3
    cost = cost_of(CLEAN._replace(flops=odd))
    assert cost.exponent == pytest.approx(-0.1) and cost.factor == pytest.approx(6)
    same = Table(*(column[:1].repeat(3) for column in CLEAN))
    assert cost_of(same) == pytest.approx((6, 0))


def squares(surface: Surface, runs: Table) -> float:
    return float(np.sum((surface.loss(runs.params, runs.tokens) - runs.loss) ** 2))


def huber(surface: Surface, runs: Table) -> float:
    """As in the paper, by its definition."""
    predicted = np.maximum(surface.loss(runs.params, runs.tokens), 1e-300)
    size = np.abs(np.log(predicted / runs.loss))
    return float(np.where(size <= HUBER, size**2 / 2, HUBER * (size - HUBER / 2)).sum())


@pytest.mark.parametrize(("fit", "cost"), [(fit_squares, squares), (fit_huber, huber)])
@pytest.mark.parametrize("spoilt", [0.0, 0.2])
def test_no_surface_nearby_is_cheaper(fit, cost, spoilt: float) -> None:
    """By a search that knows no slopes, from the fit and from points near it."""
    runs = sound(np.random.default_rng(2).normal(0, 0.005, 35))
    runs.loss[4] += spoilt
    best = fit(runs)
    lowest, chance = cost(best, runs), np.random.default_rng(3)

    def of(point: np.ndarray) -> float:
        surface = Surface(point[0], *np.exp(point[1:3]), *point[3:])
        inside = all(EXPONENTS[0] <= exponent <= EXPONENTS[1] for exponent in surface[3:])
        return cost(surface, runs) if inside else math.inf

    start = np.array([best[0], *np.log(best[1:3]), *best[3:]])
    for scale in (0.0, 0.01, 0.03):
        point = start * (1 + chance.normal(0, scale, 5))
        searched = minimize(of, point, method="Nelder-Mead", options={"maxfev": 2000})
        assert searched.fun >= lowest * (1 - 1e-7)


@pytest.mark.parametrize("fit", [fit_squares, fit_huber])
def test_a_fit_from_a_law_that_is_near_is_the_fit_from_far(fit) -> None:
    runs = sound(np.random.default_rng(0).normal(0, 0.005, 35))
    assert np.allclose(fit(runs, TRUTH), fit(runs), rtol=1e-5)
