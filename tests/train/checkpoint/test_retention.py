"""Which checkpoints are kept."""

import math

import pytest

from train.checkpoint.folder import kept_steps
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
