"""A bias of scores: values and all gradients against the formula, whole and cut over a mesh."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.attention.kernels import attend
from model.attention.mask import Mask, TokenPlaces
from model.attention.relative import RelativeBias, distance_buckets
from model.sharding import spec
from model.weights import param
from tests.models import mesh_of

B, T, S, N, H = 4, 8, 8, 4, 4


def formula(arrays: tuple[jax.Array, ...], bias: jax.Array, causal: bool) -> jax.Array:
    q, k, v = arrays
    scores = jnp.einsum("BTNH,BSNH->BNTS", q, k) / H**0.5 + bias
    seen = np.tri(T, S, dtype=bool) if causal else np.ones((T, S), bool)
    shares = jax.nn.softmax(jnp.where(seen[None, None], scores, -1e30), axis=-1)
    return jnp.einsum("BNTS,BSNH->BTNH", shares, v)


@pytest.mark.parametrize("sizes", [{}, {"replica": 2, "fsdp": 2, "tensor": 2}], ids=["one", "mesh"])
@pytest.mark.parametrize("rows", [1, B])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kernel", ["xla", "blocked"])
def test_values_and_gradients_are_those_of_the_formula(
    kernel: str, causal: bool, rows: int, sizes: dict[str, int]
) -> None:
    draw = np.random.default_rng(1)
    arrays = tuple(draw.normal(size=(B, T, N, H)).astype(np.float32) for _ in range(4))
    bias = draw.normal(size=(rows, N, T, S)).astype(np.float32)

    def run(function: Any, arrays: tuple[Any, ...], bias: Any) -> tuple[jax.Array, ...]:
        y, back = jax.vjp(function, *arrays[:3], bias)
        return (y, *back(arrays[3]))

    plain = jax.jit(lambda *a: run(lambda *own: formula(own[:3], own[3], causal), a[:4], a[4]))
    wanted = plain(*map(jnp.asarray, arrays), jnp.asarray(bias))
    with jax.set_mesh(mesh_of(**sizes)):
        heads = spec("batch", None, "heads", None)
        cut = spec("batch" if rows > 1 else None, "heads", None, None)
        row = jnp.arange(T, dtype=jnp.int32)[None].repeat(B, 0)
        places = TokenPlaces(jax.device_put(row, spec("batch", None)))
        mask = Mask(causal=causal, queries=places)
        placed = tuple(jax.device_put(array, heads) for array in arrays)
        ours = jax.jit(
            lambda arrays, bias, mask: run(
                lambda q, k, v, bias: attend(q, k, v, mask, kernel, bias=bias), arrays, bias
            )
        )(placed, jax.device_put(bias, cut), mask)
    for each, other in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(each, other, rtol=1e-5, atol=1e-5)


def test_distances_are_counted_apart_while_they_are_near() -> None:
    """The buckets that `transformers` has for 32 and 128, of a stack that sees what is before."""
    buckets = distance_buckets(32, 128)
    assert buckets[:17].tolist() == list(range(17))
    assert [int(buckets[n]) for n in (18, 19, 21, 113, 114, 128)] == [16, 17, 18, 31, 31, 31]
    assert (np.diff(buckets) >= 0).all() and set(buckets.tolist()) == set(range(32))


@pytest.mark.parametrize("causal", [True, False])
def test_a_bias_is_by_distance_alone_and_tells_both_sides_apart(causal: bool) -> None:
    with jax.set_mesh(mesh_of()):
        key, sizes = jax.random.key(0), {"buckets": 8, "largest": 6, "num_heads": 2}
        table = RelativeBias(param, key, causal=causal, std=1.0, **sizes)
        row = jnp.arange(12)[None]
        bias = np.asarray(table(row, row))[0]
        later = np.asarray(table(row + 5, row + 5))[0]
    np.testing.assert_array_equal(bias, later)
    for offset in range(-11, 12):
        line = np.diagonal(bias, offset, axis1=1, axis2=2)
        assert (line == line[:, :1]).all(), offset
    assert (bias[:, 11, 0] == bias[:, 11, 5]).all()
    assert (bias[:, 2, 3] == bias[:, 2, 2]).all() == causal
    assert (bias[:, 2, 1] != bias[:, 2, 3]).all()
