"""What training asks of every optimizer of the table, whatever it computes."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from model.flops import parameter_count
from tests.models import SMALL, TRAIN, batch_of, mesh_of, placed
from train.feed import replicated
from train.guard.spikes import NO_CEILING
from train.memory import array_bytes
from train.optimizer.memory import state_bytes
from train.optimizer.table import OPTIMIZERS
from train.state import TrainState, init_state
from train.step import make_train_step

NUMBERS = 64
"""Elements at most of what an optimizer keeps besides arrays of the parameters' shapes."""


@pytest.fixture(params=OPTIMIZERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def fresh(name: str) -> TrainState:
    """An initial state on the current mesh."""
    config = dataclasses.replace(TRAIN.optimizer, name=name)
    return jax.jit(lambda: init_state(SMALL, config, jax.random.key(0)))()


def steps(name: str, state: Any, count: int) -> tuple[Any, list[float]]:
    """The state after so many steps on one batch, and their losses."""
    config = dataclasses.replace(TRAIN, optimizer=dataclasses.replace(TRAIN.optimizer, name=name))
    step, losses = make_train_step(config), []
    for _ in range(count):
        state, metrics = step(state, placed(batch_of()), replicated(3e-3), replicated(NO_CEILING))
        losses.append(float(metrics.loss))
    return state, losses


def test_its_state_is_cut_as_the_parameters_are(name: str) -> None:
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        state = fresh(name)
    layouts = {(leaf.shape, str(leaf.sharding.spec)) for leaf in jax.tree.leaves(state.model)}
    for leaf in jax.tree.leaves(state.optimizer):
        assert leaf.size <= NUMBERS or (leaf.shape, str(leaf.sharding.spec)) in layouts


def test_its_bytes_are_those_that_plans_count(name: str) -> None:
    with jax.set_mesh(mesh_of()):
        actual = array_bytes(fresh(name)).total
    config = dataclasses.replace(TRAIN.optimizer, name=name)
    predicted = parameter_count(SMALL) * state_bytes(config, SMALL)
    assert predicted <= actual <= predicted + 4 * NUMBERS


def test_it_learns_and_its_state_is_all_that_it_remembers(name: str) -> None:
    """Steps from a copy of the state are bit-equal, though others were made in between."""
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        state, first = steps(name, fresh(name), 3)
        kept = [(np.asarray(leaf), leaf.sharding) for leaf in jax.tree.leaves(state)]
        tree = jax.tree.structure(state)
        end, losses = steps(name, state, 5)
        again, same = steps(name, tree.unflatten(jax.device_put(*pair) for pair in kept), 5)
    assert losses[-1] < first[0] - 0.02
    assert same == losses
    for a, b in zip(jax.tree.leaves(end), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
