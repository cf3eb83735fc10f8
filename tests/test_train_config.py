import dataclasses
from typing import Any

import pytest

from train.config import BadNumbersConfig, CheckpointConfig, OptimizerConfig, TrainConfig


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 0, r"train\.steps=0 must be at least 1, because .*; try --train\.steps 1"),
        ("batch_size", -8, r"train\.batch_size=-8 must be at least 1.*--train\.batch-size 1"),
        ("accumulation", 0, r"train\.accumulation=0 must be at least 1"),
        ("log_every", 0, r"train\.log_every=0 must be at least 1"),
        ("z_loss", -1.0, r"train\.z_loss=-1\.0 must be at least 0"),
        ("z_loss", float("nan"), r"train\.z_loss=nan must be at least 0 and finite.*try .* 0\.0"),
        ("seed", -1, r"train\.seed=-1 must be at least 0 and below 2\*\*32"),
        ("seed", 2**32, r"train\.seed=4294967296 must be .*--train\.seed 0"),
        ("eval_batches", -1, r"train\.eval_batches=-1 must be at least 0"),
    ],
)
def test_run_lengths_are_checked(field: str, value: float, message: str) -> None:
    config = TrainConfig(steps=10, batch_size=8)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("weight_decay", -0.1),
        ("beta1", 1.0),
        ("beta2", 1.0),
        ("beta1", 1.5),
        ("warmup_steps", -1),
        ("clip_norm", 0.0),
        ("ema_decay", 1.0),
    ],
)
def test_optimizer_numbers_are_checked(field: str, value: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"train\.optimizer\.{field}={value} must .*; try --train"
    ):
        OptimizerConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threshold", 0.0),
        ("threshold", float("nan")),
        ("window", 7),
        ("most_in_a_row", 0),
        ("most_dropped", -1),
        ("dropped_within", 0),
        ("rollback_batches", -1),
        ("most_rollbacks", -1),
    ],
)
def test_bad_numbers_limits_are_checked(field: str, value: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"train\.bad_numbers\.{field}={value} must .*; try --train"
    ):
        BadNumbersConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("every_steps", 0),
        ("keep_latest", 0),
        ("keep_every", 0),
        ("every_minutes", 0.0),
        ("keep_best", -1),
    ],
)
def test_checkpoint_numbers_are_checked(field: str, value: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"train\.checkpoint\.{field}={value} must .*; try --train"
    ):
        CheckpointConfig(**{field: value})
