"""When checkpoints are due and which are kept."""

import math

import pytest

from train.checkpoint_policy import Due, kept_steps
from train.config import CheckpointConfig


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        (CheckpointConfig(keep_latest=1), {9}),
        (CheckpointConfig(keep_latest=3), {7, 8, 9}),
        (CheckpointConfig(keep_latest=1, keep_every=4), {4, 8, 9}),
        (CheckpointConfig(keep_latest=1, keep_best=2), {3, 6, 9}),
        (CheckpointConfig(keep_latest=2, keep_every=5, keep_best=1), {3, 5, 8, 9}),
    ],
)
def test_kept_steps_are_the_union_of_the_rules(config: CheckpointConfig, kept: set[int]) -> None:
    losses = {1: 4.0, 2: math.nan, 3: 1.0, 6: 2.0, 8: 3.0}
    assert kept_steps(range(1, 10), losses, config) == kept


def test_due_by_steps() -> None:
    due = Due(CheckpointConfig(every_steps=3))
    assert [step for step in range(1, 10) if due.at(step, 0.0)] == [3, 6, 9]


def due_steps(seconds_per_step: float, minutes: float, last: int) -> list[int]:
    due = Due(CheckpointConfig(every_steps=None, every_minutes=minutes))
    saved = []
    for step in range(last):
        if due.at(step, now := step * seconds_per_step):
            saved.append(step)
            due.restart(step, now)
    return saved


def test_due_by_time_is_exact_at_a_steady_pace() -> None:
    assert due_steps(seconds_per_step=1.0, minutes=1.0, last=200) == [60, 120, 180]
    assert due_steps(seconds_per_step=90.0, minutes=1.0, last=4) == [1, 2, 3]


def test_due_by_neither_is_never() -> None:
    due = Due(CheckpointConfig(every_steps=None))
    assert not any(due.at(step, 1e6 * step) for step in range(1, 100))
