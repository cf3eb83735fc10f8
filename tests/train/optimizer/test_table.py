"""Optimizers by name, and one that no table has."""

import dataclasses
import math
import subprocess
import sys
from typing import get_args, get_type_hints

import jax
import optax
import pytest

from tests.models import SMALL, TRAIN, batch_of, mesh_of, placed
from tests.outside.optimizer import Factored
from train.config import OptimizerConfig
from train.feed import replicated
from train.guard.spikes import NO_CEILING
from train.optimizer.memory import state_bytes
from train.optimizer.table import OPTIMIZERS
from train.state import init_state
from train.step import make_train_step


def test_the_choices_are_those_of_the_table() -> None:
    assert get_args(get_type_hints(OptimizerConfig)["name"]) == tuple(OPTIMIZERS)
    for name in OPTIMIZERS:
        assert isinstance(OptimizerConfig(name=name).direction(), optax.GradientTransformation)


def test_a_name_that_is_not_there_is_refused() -> None:
    message = r"train\.optimizer\.name='adam' must be one of adamw, lion, .* try adamw, or from Py"
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(name="adam").direction()


def test_the_config_imports_no_optimizer() -> None:
    code = "import train.config, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"jax", "optax", "train.optimizer.adamw"} & set(loaded)


def test_an_optimizer_from_outside_trains_and_its_bytes_are_counted() -> None:
    config = dataclasses.replace(TRAIN, optimizer=Factored(ema_decay=0.9))
    step, losses = make_train_step(config), []
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        state = jax.jit(lambda: init_state(SMALL, config.optimizer, jax.random.key(0)))()
        scalars = replicated(1e-2), replicated(NO_CEILING)
        for _ in range(5):
            state, metrics = step(state, placed(batch_of()), *scalars)
            losses.append(float(metrics.loss))
    assert losses[-1] < losses[0] - 0.1
    shapes = [leaf.shape for leaf in jax.tree.leaves(state.model)]
    numbers = sum(map(math.prod, shapes))
    rows = sum(math.prod(shape) // shape[-1] for shape in shapes)
    columns = sum(math.prod(shape) // shape[-2] for shape in shapes if len(shape) > 1)
    expected = 4 * (2 * numbers + rows + columns)
    assert state_bytes(config.optimizer, SMALL) * numbers == pytest.approx(expected, rel=1e-12)
