"""Bytes that optimizers keep, against their papers and against the state that training makes."""

import jax
import pytest

from launch.presets.preset import preset
from model.flops import parameter_count
from model.sharding import abstract_mesh
from tests.families import FAMILIES
from tests.models import SMALL, mesh_of
from train.config import OptimizerConfig
from train.memory import array_bytes
from train.optimizer.memory import kept, moments, state_bytes
from train.state import init_state

MOMENTS = {"adamw": 2, "lion": 1}
MODELS = {**FAMILIES, "palm-540b": preset("palm-540b").model}


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("name", MOMENTS)
@pytest.mark.parametrize("model", MODELS)
def test_moments_are_those_of_the_papers(model: str, name: str, ema: float | None) -> None:
    config = OptimizerConfig(name=name, ema_decay=ema)
    assert moments(config, MODELS[model]) == MOMENTS[name]
    assert kept(config, MODELS[model]) == MOMENTS[name] + (ema is not None)
    assert state_bytes(config, MODELS[model]) == 4 * (1 + MOMENTS[name] + (ema is not None))


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("name", MOMENTS)
def test_bytes_of_a_parameter_are_those_of_the_state(name: str, ema: float | None) -> None:
    config = OptimizerConfig(name=name, ema_decay=ema)
    with jax.sharding.use_abstract_mesh(abstract_mesh(fsdp=2)):
        state = jax.eval_shape(lambda: init_state(SMALL, config, jax.random.key(0)))
    counters = 8  # two whole numbers
    assert (
        parameter_count(SMALL) * state_bytes(config, SMALL) == array_bytes(state).total - counters
    )


def test_no_mesh_counts() -> None:
    with jax.set_mesh(mesh_of(fsdp=2, tensor=4)):
        assert moments(OptimizerConfig(beta1=0.123), SMALL) == 2  # of no other test, as it is kept
        assert jax.sharding.get_abstract_mesh().size == 8
