"""Runs whose truth is known, sound and spoilt: refused with the reason, or right."""

import re

import numpy as np
import pytest

from launch.ladder.checks import reasons
from launch.ladder.runs import ScalingRun, Table
from tests.bench.ladder import CASES, fitted
from tests.bench.ladder_runs import NOISE, only, shifted, sound

CLEAN = sound(np.zeros(35))
NOISY = sound(np.random.default_rng(0).normal(0, NOISE, 35))
REASONS = {
    "one loss 0.3 too high": "run 9 has a loss of .* which lies [+]0.[23]",
    "one run diverged, 3 too high": "run 9 has a loss of .* which lies [+](2.9|3.0)",
    "one loss is NaN": "run 9 has loss=nan, which is no positive number",
    "the largest budget stopped half way, tokens known": "FLOPs of 7 runs .* unfinished",
    "the largest budget stopped half way, unknown": "run 3[0-4] has a loss of .* lies [+]0.1",
    "the largest budget's parabola opens down": "run .* lies|opens downwards",
    "one size a budget": "5 different pairs of size and tokens are fewer than the 8",
    "FLOPs of every second run counted with recomputation": "FLOPs are counted in two ways",
    "tokens counted in billions": "tokens are .* as if counted in millions or billions",
}


def refused(runs: Table) -> str:
    rows = zip(*runs, strict=True)
    named = [ScalingRun(f"run {number}", *map(float, row)) for number, row in enumerate(rows)]
    return "; ".join(reasons(named, runs))


@pytest.mark.parametrize("case", CASES)
def test_a_spoilt_set_is_refused_or_right(case: str) -> None:
    spoilt = CASES[case](NOISY, np.array([9]))
    if case in REASONS:
        assert re.search(REASONS[case], refused(spoilt)), refused(spoilt)
    else:
        squares, huber, parabola = fitted(spoilt)
        assert squares.right and huber.right
        assert parabola.right or parabola.reason


@pytest.mark.parametrize("case", REASONS)
def test_without_noise_it_is_refused_as_well(case: str) -> None:
    assert re.search(REASONS[case], refused(CASES[case](CLEAN, np.array([9]))))


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (
            CLEAN._replace(params=CLEAN.params / 1e9),
            "params are 0.262 in the median, as if counted in millions or billions$",
        ),
        (
            CLEAN._replace(tokens=CLEAN.tokens * 1e9),
            "tokens are .* as if counted in thousandths or less",
        ),
        (CLEAN._replace(flops=CLEAN.flops / 1e9), "6e-09 FLOPs for each parameter and token"),
        (CLEAN._replace(params=CLEAN.params * 1e5), "tokens a parameter, as if the two"),
        (CLEAN._replace(loss=np.exp(CLEAN.loss)), "as if it were a perplexity or a sum"),
        (CLEAN._replace(loss=-CLEAN.loss), "run 0 has loss=-3.* which is no positive number"),
        (CLEAN.take(np.arange(7)), "7 different pairs of size and tokens are fewer than the 8"),
        (CLEAN.take(np.tile(np.arange(7), 9)), "7 different pairs of size and tokens"),
        (CLEAN._replace(params=np.full(35, 1e8)), "1 different params are fewer than the 4"),
    ],
)
def test_units_and_numbers_of_runs(runs: Table, reason: str) -> None:
    assert re.search(reason, refused(runs)), refused(runs)


def test_all_rows_that_are_bad_are_named_or_counted() -> None:
    reason = refused(CLEAN._replace(loss=np.where(np.arange(35) < 20, np.nan, CLEAN.loss)))
    assert all(f"run {row} has loss=nan" in reason for row in range(6))
    assert "the same is so of 14 more" in reason


@pytest.mark.parametrize("counted", [np.sqrt(4e8 / CLEAN.params) + 1, 1 / (1 + 3e6 / CLEAN.params)])
def test_sizes_that_count_what_flops_do_not_are_not_two_ways_of_counting(
    counted: np.ndarray,
) -> None:
    """By their FLOPs of a token, which change with the size in one direction."""
    reason = refused(CLEAN._replace(flops=CLEAN.flops * counted))
    assert re.search(r"at the smallest size \(run 0\) and .* \(run 34\), by no power", reason), (
        reason
    )
    mixed = np.where(np.arange(35) % 3, 1, 1.5)
    reason = refused(CLEAN._replace(flops=CLEAN.flops * counted * mixed))
    assert "FLOPs are counted in two ways" in reason and "run 3 (" in reason


def test_a_budget_that_is_off_as_a_whole_is_named() -> None:
    reason = refused(shifted(NOISY, np.arange(28, 35), 0.02))
    assert "the budget of 1e+20 FLOPs lies" in reason and "deviations): run 28, run 29" in reason
    assert reason.endswith("run 33 and 1 more")


@pytest.mark.parametrize("row", range(12))
def test_a_bad_run_of_twelve_is_named_wherever_it_is(row: int) -> None:
    """At the corners a surface goes through it."""
    few = only(NOISY, 1, 3, 5).take(np.arange(3, 15))
    assert refused(few) == ""
    assert f"run {row} " in refused(shifted(few, np.array([row]), 0.3))


def test_sound_runs_are_hardly_ever_refused() -> None:
    chance = np.random.default_rng(0)
    small = only(CLEAN, 1, 3, 5).take(np.arange(3, 15))
    noises = chance.normal(0, NOISE, (8, 12))
    assert not [
        reason for noise in noises if (reason := refused(shifted(small, np.arange(12), noise)))
    ]
