"""A parabola for each budget, and when it tells nothing."""

import numpy as np
import pytest

from launch.ladder.isoflop import Unfit, fit_isoflop, refit_isoflop
from launch.ladder.runs import Table, budgets
from tests.bench.ladder_runs import BUDGETS, TARGET, TRUTH, only, sound, upside_down

CLEAN = sound(np.zeros(35))


def about(*shares: float) -> Table:
    """Runs of these shares of the best size at every budget."""
    best = np.array([TRUTH.optimal_params(flops) for flops in BUDGETS])
    params, flops = np.outer(best, shares).ravel(), np.repeat(BUDGETS, len(shares))
    tokens = flops / (6 * params)
    return Table(params, tokens, flops, TRUTH.loss(params, tokens))


def test_clean_losses_give_the_size_within_two_percent() -> None:
    found = fit_isoflop(CLEAN).optimal_params(TARGET)
    assert abs(found / TRUTH.optimal_params(TARGET) - 1) < 0.02


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (upside_down(CLEAN), "budget of 1e[+]20 FLOPs opens downwards"),
        (about(0.2, 0.3, 0.5, 0.7), "does not bracket its best size: .* beyond the largest"),
        (about(1.5, 2, 3, 5), "does not bracket its best size: .* beyond the smallest"),
        (only(CLEAN, 2, 4), "has 2 of the 4 sizes"),
        (CLEAN.take(np.arange(14)), "2 of the 3 budgets"),
    ],
)
def test_budgets_that_do_not_show_their_best_size(runs: Table, reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        fit_isoflop(runs)


def test_losses_of_a_parabola_that_opens_downwards_are_left_out() -> None:
    law = fit_isoflop(CLEAN)
    losses = np.stack([CLEAN.loss, upside_down(CLEAN).loss, CLEAN.loss + 1])
    found = refit_isoflop(CLEAN, losses, law)
    assert np.allclose(found, [law, law])


def test_runs_of_nearly_one_compute_are_one_budget() -> None:
    flops = np.array([1e18, 2e18, 1.03e18, 2.04e18, 4e18])
    assert [list(group.rows) for group in budgets(flops)] == [[0, 2], [1, 3], [4]]
