"""When checkpoints are due and which are kept."""

import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from train.checkpoint_policy import Due, kept_steps
from train.config import CheckpointConfig

ROOT = Path(__file__).parents[1]


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


TWO_CLOCKS = """
import sys
import jax
rank = int(sys.argv[2])
jax.distributed.initialize(sys.argv[1], 2, rank)
from tests.test_train_checkpoint_policy import due_steps
print(due_steps(seconds_per_step=[1.0, 7.0][rank], minutes=0.5, last=100), flush=True)
jax.distributed.shutdown()
"""


def test_processes_with_different_clocks_save_the_same_steps() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{listener.getsockname()[1]}"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_CLOCKS, coordinator, str(rank)],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [child.communicate(timeout=100)[0].splitlines()[-1] for child in children]
    finally:
        for child in children:
            child.kill()
    assert said == ["[30, 60, 90]"] * 2
