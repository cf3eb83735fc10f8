import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.mlp import ACTIVATIONS, Mlp
from model.sharding import spec
from model.weights import param
from tests.families import GPT
from tests.models import mesh_of

WANTED = {
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
}


def mlp_of(D: int, F: int, **choices: Any) -> Mlp:
    stds = {"std": 0.3, "residual_std": 0.3}
    return Mlp(param, jax.random.key(0), D, F, bias=True, **stds, **choices)


def test_every_activation_of_the_config_is_there() -> None:
    assert set(ACTIVATIONS) == set(WANTED)


@pytest.mark.parametrize("activation", WANTED)
@pytest.mark.parametrize("gated", [False, True])
def test_feed_forward_against_numpy(activation: str, gated: bool) -> None:
    x = np.random.default_rng(0).standard_normal((4, 3, 16))
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        mlp = jax.jit(lambda: mlp_of(16, 32, activation=activation, gated=gated))()
        mlp.b_up[...] = mlp.b_up[...] + 0.5
        mlp.b_down[...] = mlp.b_down[...] - 0.5
        rows = jax.sharding.reshard(jnp.asarray(x, jnp.float32), spec("batch", None, None))
        actual = mlp(rows)
    up = x @ np.asarray(mlp.w_up[...]) + 0.5
    hidden = WANTED[activation](up)
    if gated:
        hidden = WANTED[activation](x @ np.asarray(mlp.w_gate[...])) * up
    np.testing.assert_allclose(
        actual, hidden @ np.asarray(mlp.w_down[...]) - 0.5, rtol=2e-5, atol=2e-5
    )


def test_the_output_starts_smaller_the_deeper_the_model() -> None:
    """GPT-2 divides the residual layers' initial weights by sqrt(2 L)."""
    config = dataclasses.replace(GPT, embed_dim=64, mlp_dim=256, num_layers=8, init_std=1.0)
    with jax.set_mesh(mesh_of()):
        mlp = jax.jit(lambda: config.build(jax.random.key(0)).blocks.mlp)()
        assert float(jnp.std(mlp.w_up[...])) == pytest.approx(1.0, rel=0.05)
        assert float(jnp.std(mlp.w_down[...])) == pytest.approx(0.25, rel=0.05)
