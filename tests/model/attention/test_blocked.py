import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.attention.blocked import blocks
from model.attention.kernels import attend
from model.attention.mask import Mask, TokenPlaces
from tests.models import mesh_of


def arrays(B: int, T: int, N: int, K: int, H: int = 4) -> tuple[jax.Array, ...]:
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((B, T, N, H), (B, T, K, H), (B, T, K, H), (B, T, N, H))
    return tuple(jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True))


def causal(B: int, T: int) -> Mask:
    return Mask(causal=True, queries=TokenPlaces(jnp.tile(jnp.arange(T), (B, 1))))


def banded(B: int, T: int, window: int) -> Mask:
    """Two documents in a row, and a window inside each."""
    place = jnp.tile(jnp.arange(T), (B, 1))
    second = place >= T // 3
    positions = jnp.where(second, place - T // 3, place)
    return Mask(causal=True, window=window, queries=TokenPlaces(positions, second + 1))


def value_and_gradients(kernel: str, arguments: tuple, mask: Mask, softcap: float | None = None):
    q, k, v, weight = arguments

    @jax.jit
    def total(q, k, v):
        y = attend(q, k, v, mask, kernel, softcap)
        return jnp.sum(y * weight), y

    (_, y), gradients = jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)(q, k, v)
    return (y, *gradients)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("T", "N", "K", "softcap"), [(8, 4, 1, None), (10, 2, 2, None), (8, 4, 2, 0.7)], ids=str
)
def test_values_and_gradients_are_those_of_the_plain_kernel(
    T: int, N: int, K: int, softcap: float | None, masked: bool
) -> None:
    with jax.set_mesh(mesh_of()):
        arguments = arrays(2, T, N, K)
        mask = banded(2, T, 3) if masked else causal(2, T)
        expected = value_and_gradients("xla", arguments, mask, softcap)
        actual = value_and_gradients("blocked", arguments, mask, softcap)
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


def test_half_precision_keeps_its_type_and_is_near() -> None:
    with jax.set_mesh(mesh_of()):
        arguments = arrays(1, 16, 2, 1)
        half = tuple(a.astype(jnp.bfloat16) for a in arguments)
        actual = value_and_gradients("blocked", half, causal(1, 16))
        expected = value_and_gradients("blocked", arguments, causal(1, 16))
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(ours.astype(jnp.float32), theirs, rtol=0.1, atol=0.05)


def test_scores_of_all_queries_never_exist_at_once() -> None:
    with jax.set_mesh(mesh_of()):
        q, k, v, _ = arrays(1, 32, 1, 1)

        def total(q, k, v):
            return jnp.sum(attend(q, k, v, causal(1, 32), "blocked"))

        text = str(jax.make_jaxpr(jax.grad(total, argnums=(0, 1, 2)))(q, k, v))
    assert "32,32]" not in text
    # Nor do those of a block with later keys.
    assert all(f"[1,1,1,8,{keys}]" in text for keys in (8, 16, 24, 32))


def test_blocks_cover_the_length_once() -> None:
    assert blocks(8) == [(0, 2), (2, 4), (4, 6), (6, 8)]
    assert blocks(10) == [(0, 10)]
