"""The TPU's kernel, interpreted on CPU, against the two that run there anyway."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import model.attention.splash
from model.attention.attention import Attention
from model.attention.kernels import attend
from model.attention.mask import Mask, TokenPlaces
from model.attention.scores import splash_scores
from model.attention.splash import block_sizes, splash_attention
from model.families.decoder import Block
from model.sharding import spec
from tests.families import BANDED, QUICK, rows
from tests.models import mesh_of

interpreted = functools.partial(splash_attention, interpret=True)


def packed(B: int, T: int) -> TokenPlaces:
    """Two documents a row, the border elsewhere in each row and inside a block of the kernel."""
    cuts = T // 3 + 7 * np.arange(B)[:, None]
    place = np.arange(T)
    second = place >= cuts
    positions = np.where(second, place - cuts, place).astype(np.int32)
    return TokenPlaces(jnp.asarray(positions), jnp.asarray(second + 1, jnp.int32))


def arrays(B: int, T: int, N: int, K: int, H: int = 8) -> tuple[jax.Array, ...]:
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((B, T, N, H), (B, T, K, H), (B, T, K, H), (B, T, N, H))
    return tuple(jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True))


def value_and_gradients(attention, arguments: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    def total(q, k, v, weight):
        y = attention(q, k, v)
        return jnp.sum(y * weight), y

    gradient = jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)
    (_, y), gradients = jax.jit(gradient, compiler_options=QUICK)(*arguments)
    return (y, *gradients)


@pytest.mark.parametrize(
    ("T", "N", "K", "window", "softcap"),
    [(384, 4, 2, None, None), (200, 2, 1, 40, 0.7)],
    ids=["causal", "everything"],
)
def test_values_and_gradients_are_those_of_the_other_kernels(
    T: int, N: int, K: int, window: int | None, softcap: float | None
) -> None:
    """Three blocks of one document; and two documents in no multiple of 128 tokens, windows, one
    key head, capped scores."""
    with jax.set_mesh(mesh_of()):
        row = packed(2, T) if window else TokenPlaces(jnp.tile(jnp.arange(T), (2, 1)))
        arguments = arrays(2, T, N, K)
        actual = value_and_gradients(
            lambda q, k, v: interpreted(q, k, v, row.segment_ids, window=window, softcap=softcap),
            arguments,
        )
        mask = Mask(causal=True, window=window, queries=row)
        for kernel in ("xla", "blocked"):
            other = functools.partial(attend, mask=mask, kernel=kernel, softcap=softcap)
            wanted = value_and_gradients(other, arguments)
            for mine, theirs in zip(actual, wanted, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-5)


def test_half_precision_keeps_its_type_and_is_near() -> None:
    with jax.set_mesh(mesh_of()):
        q, k, v, _ = arrays(1, 128, 1, 1, H=128)
        half = [a.astype(jnp.bfloat16) for a in (q, k, v)]
        run = jax.jit(
            lambda q, k, v: interpreted(q, k, v, None, window=None), compiler_options=QUICK
        )
        actual = run(*half)
        row = TokenPlaces(jnp.arange(128)[None])
        wanted = attend(q, k, v, Mask(causal=True, queries=row), "xla")
    assert actual.dtype == jnp.bfloat16
    np.testing.assert_allclose(actual.astype(jnp.float32), wanted, rtol=0.05, atol=0.03)


def test_a_layer_on_a_mesh_is_the_plain_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense and banded by turns, as scanned layers are; the window ends inside a block."""
    monkeypatch.setattr(model.attention.splash, "splash_attention", interpreted)
    T, window, dense = 384, 150, jnp.iinfo(jnp.int32).max
    config = dataclasses.replace(BANDED, window=window, num_kv_heads=2, bias=False)
    place = packed(4, T)
    x = np.asarray(jax.random.normal(jax.random.key(1), (4, T, config.embed_dim)))

    def gradients(kernel: str) -> list[np.ndarray]:
        with jax.set_mesh(mesh_of(fsdp=2, tensor=4)):
            chosen = dataclasses.replace(config, attention=kernel)
            layer = jax.jit(lambda: Block(chosen, jax.random.key(0)).attention)()
            row = TokenPlaces(*(rows(np.asarray(part)) for part in place))
            mask = Mask(causal=True, window=window, queries=row)
            inputs = jax.sharding.reshard(jnp.asarray(x), spec("batch", None, None))

            def total(layer: Attention, x: jax.Array, window: jax.Array) -> jax.Array:
                own = dataclasses.replace(mask, layer_window=window)
                return jnp.sum(jnp.sin(layer(x, own)[0]))

            gradient = jax.jit(jax.value_and_grad(total, argnums=(0, 1)), compiler_options=QUICK)
            actual = [gradient(layer, inputs, jnp.asarray(w)) for w in (window, dense)]
            return [np.asarray(leaf) for leaf in jax.tree.leaves(actual)]

    for mine, theirs in zip(gradients("splash"), gradients("xla"), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(("T", "size"), [(128, 128), (384, 128), (1024, 512), (8192, 512)])
def test_blocks_divide_the_length(T: int, size: int) -> None:
    assert block_sizes(T).block_q == size


@pytest.mark.parametrize("length", [100, 128, 640, 1536])
@pytest.mark.parametrize("window", [1, 128, 129, 700, None])
def test_scores_are_of_blocks_that_hold_a_key_which_a_query_sees(
    length: int, window: int | None
) -> None:
    padded = -(-length // 128) * 128
    size = math.gcd(padded, 512)
    distance = np.arange(padded)[:, None] - np.arange(padded)
    sees = (distance >= 0) & (distance < (window or padded))
    blocks = sees.reshape(padded // size, size, padded // size, size).any((1, 3))
    assert splash_scores([(window, 2)], length, packed=False) == pytest.approx(blocks.mean())
