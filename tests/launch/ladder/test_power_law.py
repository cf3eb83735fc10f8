"""A parabola for each budget, the lowest of the curves of loss over compute, and when neither shows
a best size."""

import numpy as np
import pytest

from launch.ladder.power_law import Unfit, fit_envelope, fit_parabolas
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
    size = fit_parabolas(CLEAN).optimal_params(TARGET)
    assert abs(size / TRUTH.optimal_params(TARGET) - 1) < 0.02


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
        fit_parabolas(runs)


def test_near_a_law_only_parabolas_that_open_downwards_are_unfit() -> None:
    law = fit_parabolas(CLEAN)
    assert np.allclose(fit_parabolas(CLEAN._replace(loss=CLEAN.loss + 1), law), law)
    beyond = about(0.2, 0.3, 0.5, 0.7)
    assert fit_parabolas(beyond, law).optimal_params(TARGET) > beyond.params.max()
    with pytest.raises(Unfit, match="opens downwards"):
        fit_parabolas(upside_down(CLEAN), law)


def test_runs_of_nearly_equal_compute_are_a_budget() -> None:
    flops = np.array([1e18, 2e18, 1.03e18, 2.04e18, 4e18])
    assert [list(group.rows) for group in budgets(flops)] == [[0, 2], [1, 3], [4]]


def grid(tokens: np.ndarray) -> Table:
    """Twelve sizes, each trained on all these numbers of tokens."""
    sizes, seen = (part.ravel() for part in np.meshgrid(np.geomspace(5e7, 5e9, 12), tokens))
    return Table(sizes, seen, 6 * sizes * seen, TRUTH.loss(sizes, seen))


def test_a_grid_of_sizes_and_tokens_gives_the_true_size_roughly() -> None:
    runs = grid(np.geomspace(2e8, 2e11, 12))
    law = fit_envelope(runs)
    assert law.optimal_params(TARGET) == pytest.approx(TRUTH.optimal_params(TARGET), rel=0.1)
    noisy = runs.loss + np.random.default_rng(0).normal(0, 0.005, 144)
    size = fit_envelope(runs._replace(loss=noisy), law).optimal_params(TARGET)
    assert size == pytest.approx(TRUTH.optimal_params(TARGET), rel=0.3)


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (sound(np.zeros(35)), "0 sizes were trained for 3 or more numbers of tokens"),
        (grid(np.geomspace(2e8, 8e8, 3)), "smallest or the largest size"),
    ],
)
def test_runs_that_have_no_envelope(runs: Table, reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        fit_envelope(runs)
