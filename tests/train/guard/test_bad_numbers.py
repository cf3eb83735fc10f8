"""What the guard makes of the metrics of steps, without training any."""

import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import mesh_of
from train.config import BadNumbersConfig
from train.guard.bad_numbers import Guard, Rollback
from train.step import Metrics

SKIP = BadNumbersConfig(non_finite="skip", spikes="skip", window=8, most_in_a_row=3)


def metrics(loss: float, norm: float = 1.0, *, updated: bool = True) -> Metrics:
    return Metrics(*(jnp.float32(value) for value in (loss, norm, updated)))


NAN, SPIKE = metrics(math.nan, updated=False), metrics(9.0, updated=False)


def guarded(
    config: BadNumbersConfig, kept: Mapping[str, Any] | None = None
) -> tuple[Guard, list[str]]:
    said: list[str] = []
    return Guard(config, said.append, lambda a, b: f"rows {a} to {b - 1} of a.txt", kept), said


def judge(guard: Guard, first: int, *measured: Metrics) -> None:
    for step, each in enumerate(measured, start=first):
        guard.judge(step, (8 * step - 8, 8 * step), each)


def test_a_spike_is_said_with_its_scores_step_and_rows() -> None:
    guard, said = guarded(SKIP)
    judge(guard, 1, *[metrics(2 + i % 3 / 10, 1 + i % 2) for i in range(9)], SPIKE)
    assert said == [
        "loss=9 (z-score 46.5) and gradient norm=1 (z-score -0.7) of step 10 "
        "(rows 72 to 79 of a.txt) are a spike: that update was dropped, 1 so far"
    ]


def test_dropped_updates_go_on_counting_in_a_resumed_run() -> None:
    guard, _ = guarded(SKIP)
    judge(guard, 1, NAN, metrics(2.0), NAN, NAN)
    kept = json.dumps(guard.meta())
    resumed, said = guarded(SKIP, json.loads(kept))
    assert json.dumps(resumed.meta()) == kept
    with pytest.raises(ValueError, match="3 updates in a row were dropped"):
        judge(resumed, 5, NAN)
    judge(guard, 5, metrics(2.0), NAN)
    assert guard.dropped == 4 and said == []


def test_too_many_within_so_many_steps_end_the_run() -> None:
    config = BadNumbersConfig(non_finite="skip", most_dropped=2, dropped_within=10)
    guard, said = guarded(config)
    good = [metrics(2.0)] * 4
    # Steps 1, 6, 11 and 16 are bad: two within any ten.
    judge(guard, 1, *(NAN, *good) * 4)
    assert len(said) == 4
    with pytest.raises(ValueError, match=r"step 21 .* be finite, because 3 updates within 11 step"):
        guard, _ = guarded(BadNumbersConfig(non_finite="skip", most_dropped=2, dropped_within=11))
        judge(guard, 11, *(NAN, *good) * 3)


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (NAN, r"loss=nan and .* step 1 \(rows 0 to 7 of a.txt\) must be finite, because"),
        (SPIKE, r"z-scores of at most 8, because .* try --resume with --train.bad-numbers.spikes"),
    ],
)
def test_stop_says_what_to_try(measured: Metrics, words: str) -> None:
    guard, _ = guarded(BadNumbersConfig(spikes="stop"))
    with pytest.raises(ValueError, match=words):
        judge(guard, 1, measured)


def test_rollback_leaves_with_the_rows_and_counts_nothing() -> None:
    guard, said = guarded(BadNumbersConfig(non_finite="rollback", spikes="rollback"))
    for measured, words in ((NAN, "are not finite"), (SPIKE, "are a spike")):
        with pytest.raises(Rollback, match=f"step 3 .rows 16 to 23 of a.txt. {words}$") as left:
            judge(guard, 3, measured)
        assert left.value.rows == (16, 24)
    assert (guard.dropped, said) == (0, [])


def test_the_ceiling_is_created_again_only_when_it_changes() -> None:
    with jax.set_mesh(mesh_of(fsdp=2)):
        guard, _ = guarded(SKIP)
        first = guard.ceiling(1)
        assert np.isinf(np.asarray(first)).all() and first.sharding.is_fully_replicated
        judge(guard, 1, *[metrics(2.0)] * 8)
        assert guard.ceiling(9) is first
        assert np.isfinite(np.asarray(guard.ceiling(10))).all()
        off, _ = guarded(BadNumbersConfig(window=8), guard.meta())
        assert np.isinf(np.asarray(off.ceiling(10))).all()
