"""When checkpoints are due."""

from train.checkpoint.policy import Due
from train.config import CheckpointConfig


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
