"""What the approaches give together: optima, forecasts and their intervals."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.ladder.backtest import Backtest, lever
from launch.ladder.fit import SYMBOLS, ScalingFit, fit, optimum, predict
from launch.ladder.interval import Estimated
from launch.ladder.runs import Table
from launch.ladder.summary import facts_of, lines_of
from launch.ladder.surface import undetermined
from tests.bench.ladder_runs import TARGET, TRUTH, named, only, sound, upside_down

NOISY = sound(np.random.default_rng(0).normal(0, 0.005, 35))
SMALL = only(NOISY, 1, 3, 5).take(np.arange(3, 15))


@pytest.fixture(scope="module")
def law_fit() -> ScalingFit:
    return fit(named(NOISY))


def test_intervals_contain_the_truth_and_are_narrow(law_fit: ScalingFit) -> None:
    params = TRUTH.optimal_params(TARGET)
    tokens = TARGET / (6 * params)
    for approach in law_fit.approaches[:3]:
        best = optimum(law_fit, approach, TARGET)
        assert not isinstance(best, str)
        assert best.params.low < params < best.params.high < 1.3 * best.params.low
        assert best.tokens.low < tokens < best.tokens.high < 1.3 * best.tokens.low
        if best.loss:
            assert best.loss.low < TRUTH.loss(params, tokens) < best.loss.high
    assert 0.003 < law_fit.noise < 0.007
    assert law_fit.left_out and not law_fit.left_out.failed and not law_fit.missed


def test_a_loss_that_tokens_do_not_move_has_no_best_size() -> None:
    sizes, tokens = np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6))
    noise = np.random.default_rng(0).normal(0, 0.01, 36)
    params, seen = sizes.ravel(), tokens.ravel()
    only_size = fit(
        named(Table(params, seen, 6 * params * seen, 10 - 0.3 * np.log(params) + noise))
    )
    for approach in only_size.approaches:
        assert isinstance(optimum(only_size, approach, TARGET), str)


def test_neither_the_order_of_runs_nor_a_second_copy_moves_the_estimate(
    law_fit: ScalingFit,
) -> None:
    rows = np.random.default_rng(1).permutation(np.tile(np.arange(35), 2))
    again = fit(named(NOISY.take(rows)))
    for ours, theirs in zip(law_fit.approaches[:3], again.approaches[:3], strict=True):
        first, second = optimum(law_fit, ours, TARGET), optimum(again, theirs, TARGET)
        assert not isinstance(first, str) and not isinstance(second, str)
        assert second.params.value == pytest.approx(first.params.value, rel=1e-4)
        # A copy of a run is no news.
        width = math.log(second.params.high / second.params.low)
        assert width == pytest.approx(math.log(first.params.high / first.params.low), rel=0.2)


def test_twelve_cells_predict_a_larger_cell_with_seeds() -> None:
    """Eight times the compute of the largest."""
    small = fit(named(SMALL))
    assert not small.refused
    params = TRUTH.optimal_params(8 * SMALL.flops.max())
    tokens = 8 * SMALL.flops.max() / (6 * params)
    once, three = predict(small, params, tokens), predict(small, params, tokens, seeds=3)
    truth = TRUTH.loss(params, tokens)
    assert three.low < truth < three.high
    assert once.low < three.low and three.high < once.high
    assert 0.003 < (three.high - three.low) / truth < 0.04


def test_more_seeds_of_each_cell_narrow_the_interval(law_fit: ScalingFit) -> None:
    seeds = sound(np.zeros(35)).take(np.repeat(np.arange(35), 3))
    noise = np.random.default_rng(2).normal(0, 0.005, 105)
    of_seeds = fit(named(seeds._replace(loss=seeds.loss + noise)))
    once, many = (optimum(of, of.surface, TARGET) for of in (law_fit, of_seeds))
    assert not isinstance(once, str) and not isinstance(many, str)
    assert many.params.high / many.params.low < once.params.high / once.params.low


def test_what_is_refused_has_no_law() -> None:
    refused = fit(named(upside_down(NOISY)))
    assert refused.refused and not refused.approaches


def test_a_size_that_is_known_no_better_than_tenfold_has_no_optimum() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 12)
    vague = fit(named(SMALL._replace(loss=SMALL.loss + noise)))
    best = optimum(vague, vague.surface, 1e6 * SMALL.flops.max())
    assert isinstance(best, str) and "these runs do not determine it" in best


def aside(share: float) -> Table:
    """Runs whose sizes all lie to one side of the best."""
    clean = sound(np.zeros(35))
    params, tokens = clean.params * share, clean.tokens / share
    noise = np.random.default_rng(0).normal(0, 0.002, 35)
    return Table(params, tokens, clean.flops, TRUTH.loss(params, tokens) + noise)


@pytest.mark.parametrize(("share", "side"), [(0.1, "largest"), (6.0, "smallest")])
def test_what_speaks_against_parabolas_leaves_the_surfaces(share: float, side: str) -> None:
    law_fit = fit(named(aside(share)))
    parabola = law_fit.approaches[2]
    assert f"beyond the {side} of its sizes (run 0, run 1," in parabola.reason
    assert "run 5 and 1 more)" in parabola.reason
    for approach in law_fit.approaches[:2]:
        best = optimum(law_fit, approach, 1e20)
        assert not isinstance(best, str)
        assert best.params.low < TRUTH.optimal_params(1e20) < best.params.high


def test_a_budget_of_few_sizes_is_named_with_the_number_of_others() -> None:
    stray = NOISY.take(np.append(np.arange(28), [29, 33]))
    reason = fit(named(stray)).approaches[2].reason
    assert reason.startswith("the budget of 1e+20 FLOPs has 2 of the 4 sizes")
    assert reason.endswith("(run 28, run 29)")
    reason = fit(named(only(NOISY, 1, 3, 5))).approaches[2].reason
    assert "4 of 5 budgets more have too few" in reason


EDGES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "irreducible": lambda params, tokens: TRUTH.loss(params, tokens) - TRUTH.irreducible,
    "alpha": lambda params, tokens: 7 - 0.3 * np.log(params) + 410.7 * tokens**-0.28,
    "beta": lambda params, tokens: 9 - 0.3 * np.log(tokens) + 406.4 * params**-0.34,
}
"""Losses that no end of tokens and parameters bounds, or that fall by a logarithm."""


@pytest.mark.parametrize("constant", EDGES)
def test_a_constant_at_the_edge_of_its_search_is_not_determined(constant: str) -> None:
    """It has no interval in JSON and text, and no best size follows."""
    noise = np.random.default_rng(0).normal(0, 0.003, 35)
    runs = NOISY._replace(loss=EDGES[constant](NOISY.params, NOISY.tokens) + noise)
    law_fit = fit(named(runs))
    assert not law_fit.refused
    facts = facts_of(law_fit, (TARGET,))
    assert json.loads(json.dumps(facts, allow_nan=False))
    for approach, shown in zip(law_fit.approaches[:2], facts["approaches"][:2], strict=True):
        # Where E cannot be below zero it bends instead, and ends at the lowest that is tried.
        assert constant in approach.undetermined or approach.name.startswith("surface, Huber")
        assert approach.undetermined
        for name, of in shown["constants"].items():
            assert (of["interval"] is None) == (name in approach.undetermined)
            assert of["interval"] is None or of["interval"][0] < of["interval"][1]
        reason = optimum(law_fit, approach, TARGET)
        assert isinstance(reason, str) and "not determined" in reason
        assert shown["optimum"][0]["reason"] == reason
    text = "\n".join(lines_of(law_fit, facts))
    assert f"    {SYMBOLS.get(constant, constant):<7}not determined: " in text
    assert max(map(len, text.splitlines())) <= 80


CONSTANTS = {
    "irreducible": st.floats(-2, 1e-3, exclude_max=True),
    "of_params": st.floats(-1e3, 1e-3),
    "of_tokens": st.floats(-1e3, 1e-3),
    "alpha": st.one_of(st.floats(0.01, 0.0101), st.floats(2.95, 3.0)),
    "beta": st.one_of(st.floats(0.01, 0.0101), st.floats(2.95, 3.0)),
}


@given(st.sampled_from(list(CONSTANTS)).flatmap(lambda n: st.tuples(st.just(n), CONSTANTS[n])))
@settings(deadline=None)
def test_what_stands_at_a_bound_or_vanishes_is_known_for_it(at: tuple[str, float]) -> None:
    name, value = at
    assert undetermined(TRUTH, NOISY) == {}
    assert name in undetermined(TRUTH._replace(**{name: value}), NOISY)


def test_a_missed_backtest_widens_all_forecasts_and_more_the_farther_away(
    law_fit: ScalingFit,
) -> None:
    def backtest(measured: float) -> Backtest:
        predicted, at = Estimated(2.0, 1.99, 2.01), lever(1e21, NOISY.flops)
        return Backtest("held out", 1, 1e21, predicted, [measured], measured, at)

    miss = backtest(2.02)
    wide_fit = fit(named(NOISY), [backtest(2.005), miss])
    assert wide_fit.missed == [miss]
    halves = []
    for flops in (1e19, 1e21, 1e22):
        for place in range(3):
            narrow = optimum(law_fit, law_fit.approaches[place], flops)
            wide = optimum(wide_fit, wide_fit.approaches[place], flops)
            assert not isinstance(narrow, str) and not isinstance(wide, str)
            assert wide.params.low < narrow.params.low < narrow.params.high < wide.params.high
            assert wide.extrapolates == (flops > NOISY.flops.max())
        wide, narrow = (optimum(of, of.surface, flops) for of in (wide_fit, law_fit))
        assert not isinstance(narrow, str) and not isinstance(wide, str)
        assert wide.loss and narrow.loss
        halves.append((wide.loss.high - narrow.loss.high) / wide.loss.value)
    assert halves[0] == pytest.approx(abs(miss.off), rel=0.05)
    assert halves[1] == pytest.approx(abs(miss.off), rel=0.05)
    assert halves[2] > 1.5 * abs(miss.off)
