import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.layers import (
    Embedding,
    Norm,
    WholeTable,
    linear,
    row_positions,
    sinusoidal,
)
from model.sharding import spec
from model.weights import param
from tests.families import layout, rows
from tests.models import mesh_of

rng = np.random.default_rng(0)


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)


def test_sines_are_those_of_vaswani() -> None:
    D, places = 10, [0, 1, 7, 511]
    actual = sinusoidal(jnp.asarray([places]), D)[0]
    for row, place in zip(actual, places, strict=True):
        for i in range(D // 2):
            angle = place / 10_000 ** (2 * i / D)
            assert float(row[2 * i]) == pytest.approx(math.sin(angle), abs=1e-4)
            assert float(row[2 * i + 1]) == pytest.approx(math.cos(angle), abs=1e-4)


@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
def test_norms_against_numpy(kind: str) -> None:
    x = normal(2, 3, 16)
    with jax.set_mesh(mesh_of()):
        norm = Norm(param, (16,), centred=kind == "layernorm", bias=True, epsilon=0.1)
        norm.scale[...] = normal(16)
        if norm.bias is not None:
            norm.bias[...] = normal(16)
        actual = norm(x)
    y = np.asarray(x, np.float64)
    centre = y.mean(-1, keepdims=True) if kind == "layernorm" else 0.0
    wanted = (y - centre) / np.sqrt(((y - centre) ** 2).mean(-1, keepdims=True) + 0.1)
    bias = 0.0 if norm.bias is None else np.asarray(norm.bias[...])
    wanted = wanted * np.asarray(norm.scale[...]) + bias
    assert (norm.bias is None) == (kind == "rmsnorm")
    np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)


def test_norms_compute_in_float32() -> None:
    """The square of 300 does not fit float16."""
    x = 300 * normal(1, 4, 16)
    with jax.set_mesh(mesh_of()):
        norm = Norm(param, (16,), centred=False, bias=True, epsilon=1e-5)
        low, wanted = norm(x.astype(jnp.float16)), norm(x)
    assert low.dtype == jnp.float16
    np.testing.assert_allclose(low, wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("sizes", [{"fsdp": 2, "tensor": 2}, {"tensor": 2}, {"fsdp": 2}, {}])
def test_sharded_lookup_is_the_plain_lookup(sizes: dict[str, int]) -> None:
    tokens, pull = rng.integers(0, 29, (4, 8)).astype(np.int32), np.asarray(normal(4, 8, 16))
    with jax.set_mesh(mesh_of(**sizes)):
        embedding = jax.jit(lambda: Embedding(param, jax.random.key(0), 32, 16, std=0.3))()
        table = np.asarray(embedding.table[...])
        placed_tokens = rows(tokens)
        placed_pull = jax.sharding.reshard(jnp.asarray(pull), spec("batch", None, None))

        def pulled(embedding: Embedding) -> tuple[jax.Array, jax.Array]:
            actual = embedding.lookup(placed_tokens, jnp.dtype("float32"))
            return jnp.sum(actual * placed_pull), actual

        (_, actual), grads = jax.jit(jax.value_and_grad(pulled, has_aux=True))(embedding)
    np.testing.assert_array_equal(actual, table[tokens])
    wanted = np.zeros_like(table)
    np.add.at(wanted, tokens, pull)
    np.testing.assert_allclose(grads.table[...], wanted, rtol=1e-5, atol=1e-6)


def test_learned_positions_are_rows_of_their_table() -> None:
    with jax.set_mesh(mesh_of(fsdp=2)):
        table = WholeTable(param, jax.random.key(0), 16, 16, std=0.3)
        places = rng.integers(0, 16, (4, 8)).astype(np.int32)
        np.testing.assert_array_equal(table(rows(places)), np.asarray(table.table[...])[places])
        counted = row_positions(rows(places))
        assert layout(counted) == tuple(spec("batch", "length"))
        np.testing.assert_array_equal(counted, np.tile(np.arange(8), (4, 1)))


@pytest.mark.parametrize(
    ("shape", "logical", "fan_in"),
    [
        ((16, 8, 4), ("embed", "heads", None), (0,)),
        ((8, 4, 16), ("heads", None, "embed"), (0, 1)),
        ((32, 16), ("mlp", "embed"), (0,)),
    ],
)
def test_linear_is_the_einsum_over_the_declared_fan_in(
    shape: tuple[int, ...], logical: tuple[str | None, ...], fan_in: tuple[int, ...]
) -> None:
    n = len(fan_in)
    x, bias = normal(4, 3, *shape[:n]), normal(*shape[n:])
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        w = param(
            jax.random.key(0),
            shape,
            logical,
            init=jax.nn.initializers.normal(1.0),
            fan_in=fan_in,
            fan_out=tuple(range(n, len(shape))),
        )
        outputs = [None if axis == "embed" else axis for axis in logical[n:]]
        inputs = [None if axis == "embed" else axis for axis in logical[:n]]
        b = jax.sharding.reshard(bias, spec(*outputs))
        y = linear(jax.sharding.reshard(x, spec("batch", None, *inputs)), w, nnx.Param(b))
        assert layout(y) == tuple(spec("batch", None, *outputs))
    wanted = np.tensordot(x, np.asarray(w[...]), n) + np.asarray(bias)
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)
