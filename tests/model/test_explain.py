"""Explanations: attention as it is computed, its rollout, and attributions that add up."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.attention.mask import Mask, TokenPlaces
from model.explain import explain, rollout
from model.families.encoder import Encoder
from model.layers import linear, row_positions
from tests.families import GPT, LLAMA, QUICK, fresh_model
from tests.models import mesh_of
from tests.questions import ENCODER, MODERN, asked

MODELS = {"bert": ENCODER, "modern": MODERN, "gpt": GPT, "llama": LLAMA}


@functools.cache
def model_of(kind: str) -> Any:
    config: Any = MODELS[kind]
    if kind in ("gpt", "llama"):
        return fresh_model(config)
    return jax.jit(lambda: Encoder(asked("labels", config), jax.random.key(0)))()


@pytest.mark.parametrize("kind", MODELS)
def test_attributions_sum_to_the_difference_of_the_scores(kind: str) -> None:
    draw = np.random.default_rng(0)
    tokens, hidden = jnp.asarray(draw.integers(1, 29, (1, 7))), jnp.zeros((1, 7), jnp.int32)

    def score(model: Any, x: jax.Array, segments: jax.Array) -> jax.Array:
        if kind in ("gpt", "llama"):
            return model.logits(x[:, -1:])[:, 0, 3]
        head = model.task_head
        return head.logits(head(head.pool(x, segments)))[:, 0, 1]

    with jax.set_mesh(mesh_of()):
        run = jax.jit(lambda m: explain(m, tokens, hidden, score))
        actual = run(model_of(kind))
    difference = float(actual.score - actual.baseline)
    assert abs(difference) > 1e-3
    assert float(jnp.sum(actual.attributions)) == pytest.approx(difference, rel=2e-3)
    np.testing.assert_allclose(np.sum(actual.shares, axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.sum(actual.rollout, axis=-1), 1, rtol=1e-5)
    later = np.triu(np.asarray(actual.rollout), 1)
    assert (later == 0).all() == (kind in ("gpt", "llama"))


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_shares_are_those_by_which_values_are_summed(kind: str) -> None:
    with jax.set_mesh(mesh_of()):
        model = model_of(kind)
        x = jax.random.normal(jax.random.key(1), (2, 6, 16))
        mask = Mask(
            causal=kind == "llama", queries=TokenPlaces(row_positions(jnp.zeros((2, 6), int)))
        )
        block = jax.tree.map(lambda values: values[0], model.blocks)
        attention = block.attention

        def both(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            v = linear(x, attention.w_v, attention.b_v)
            v = jnp.repeat(v, attention.num_heads // attention.num_kv_heads, axis=2)
            y = jnp.einsum("BNTS,BSNH->BTNH", attention.shares(x, mask), v)
            return linear(y, attention.w_o, attention.b_o), attention(x, mask)[0]

        by_hand, actual = jax.jit(both, compiler_options=QUICK)(x)
    np.testing.assert_allclose(by_hand, actual, rtol=1e-4, atol=1e-5)


def test_rollout_of_two_layers_by_hand() -> None:
    first = np.array([[1.0, 0.0], [0.5, 0.5]])
    second = np.array([[0.0, 1.0], [1.0, 0.0]])
    halves = [(layer + np.eye(2)) / 2 for layer in (first, second)]
    actual = rollout(jnp.asarray(np.stack([first, second])[:, None]))
    np.testing.assert_allclose(actual, halves[1] @ halves[0], rtol=1e-6)
