import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.advice import advised
from train.config import OptimizerConfig
from train.optimizer.schedule import learning_rate, odd_schedule
from train.optimizer.shapes import SHAPES

STEPS = 101


def rates(**settings: Any) -> list[float]:
    config = OptimizerConfig(learning_rate=2.0, **settings)
    return [learning_rate(config, step, STEPS) for step in range(STEPS)]


@pytest.mark.parametrize("schedule", SHAPES)
def test_warm_up_is_linear_and_ends_at_the_peak(schedule: str) -> None:
    actual = rates(schedule=schedule, warmup_steps=10)
    np.testing.assert_allclose(actual[:10], [2.0 * (i + 1) / 10 for i in range(10)])
    assert schedule in ("constant", "wsd") or actual[10] < 2.0
    assert actual[10] == pytest.approx(2.0, rel=0.1)


def test_schedules_by_their_formulas() -> None:
    cosine = rates(schedule="cosine", warmup_steps=0, final_fraction=0.1)
    assert cosine[50] == pytest.approx(2 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2))))
    assert cosine[100] == pytest.approx(0.2)
    linear = rates(schedule="linear", warmup_steps=21, final_fraction=0.0)
    assert linear[60] == pytest.approx(1.0) and linear[100] == pytest.approx(0.0)
    wsd = rates(schedule="wsd", warmup_steps=0, decay_fraction=20 / 101, final_fraction=0.0)
    assert wsd[80] == pytest.approx(2.0) and wsd[90] == pytest.approx(1.0)
    assert wsd[79] == 2.0 and wsd[100] == pytest.approx(0.0)
    root = rates(schedule="inverse_sqrt", warmup_steps=25)
    assert root[99] == pytest.approx(2.0 * math.sqrt(25 / 100))
    assert set(rates(schedule="constant", warmup_steps=0)) == {2.0}


def test_a_fraction_of_a_step_lies_between_its_neighbours() -> None:
    config = OptimizerConfig(warmup_steps=10)
    low, mid, high = (learning_rate(config, step, STEPS) for step in (40.0, 40.5, 41.0))
    assert low > mid > high


@given(
    schedule=st.sampled_from(list(SHAPES)),
    warmup=st.integers(0, 120),
    steps=st.integers(1, 100),
    fraction=st.integers(0, 100),
)
def test_an_impossible_schedule_is_reported_and_the_advice_works(
    schedule: Any, warmup: int, steps: int, fraction: int
) -> None:
    words = ["--train.optimizer.warmup-steps", str(warmup)]
    words += ["--train.optimizer.decay-fraction", str(fraction / 100)]

    def config_of(words: list[str]) -> OptimizerConfig:
        actual = dict(zip(words[::2], map(float, words[1::2]), strict=True))
        return OptimizerConfig(
            learning_rate=1.0,
            schedule=schedule,
            warmup_steps=int(actual["--train.optimizer.warmup-steps"]),
            decay_fraction=actual["--train.optimizer.decay-fraction"],
        )

    def is_odd(config: OptimizerConfig) -> bool:
        rates = [learning_rate(config, step, steps) for step in range(steps)]
        if config.warmup_steps >= steps:
            assert sorted(rates) == rates
            return True
        slope = (1 - config.final_fraction) / max(1.0, steps * config.decay_fraction)
        falls = [before - after for before, after in itertools.pairwise(rates)]
        return schedule == "wsd" and max(falls, default=0) > slope + 1e-6

    for _ in range(3):
        said = odd_schedule(config_of(words), steps)
        assert (said is not None) == is_odd(config_of(words))
        if said is None:
            break
        words = advised(words, said)
    assert odd_schedule(config_of(words), steps) is None
