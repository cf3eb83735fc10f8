import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.attention.attention import Attention, Cache, Keys
from model.attention.mask import Mask, TokenPlaces
from model.attention.rates import rotary_rates
from model.attention.rotary import Rotation, rotate
from model.families.decoder import Decoder
from model.families.decoder_config import DecoderConfig
from model.layers import row_positions
from model.sharding import spec
from model.weights import param
from tests.families import BANDED, FAMILIES, QUICK, fresh_model, rows
from tests.masks import softmax_attention
from tests.models import mesh_of

ROTATION = Rotation(jnp.asarray(rotary_rates(4, 10_000.0)))
rng = np.random.default_rng(0)


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)


def layer(K: int, bias: bool = True, **choices: Any) -> Attention:
    """Attention of 8 heads on a stream of width 16."""
    return Attention(
        jax.random.key(0),
        embed_dim=16,
        num_heads=8,
        num_kv_heads=K,
        head_dim=4,
        bias=bias,
        matrix_std=0.3,
        out_std=0.3,
        **{"kernel": "xla", "declare": param, **choices},
    )


@pytest.mark.parametrize("K", [1, 2])
def test_fewer_key_heads_than_shards_of_tensor(K: int) -> None:
    x, positions = np.asarray(normal(2, 6, 16)), np.tile(np.arange(6, dtype=np.int32), (2, 1))

    def run(**sizes: int) -> np.ndarray:
        with jax.set_mesh(mesh_of(**sizes)):
            attention = jax.jit(lambda: layer(K))()
            inputs = jax.sharding.reshard(jnp.asarray(x), spec("batch", None, None))

            def call(attention: Attention, x: jax.Array, positions: jax.Array) -> jax.Array:
                mask = Mask(causal=True, queries=TokenPlaces(positions))
                return attention(x, mask, rotation=ROTATION)[0]

            return np.asarray(
                jax.jit(call, compiler_options=QUICK)(attention, inputs, rows(positions))
            )

    np.testing.assert_allclose(run(tensor=8), run(), rtol=1e-5, atol=1e-6)


def apart(B: int) -> tuple[np.ndarray, ...]:
    """Queries, a source of another length, and the segments of both, some of which are padding."""
    x, source = np.asarray(normal(B, 6, 16)), np.asarray(normal(B, 10, 16))
    real = np.arange(10) < np.arange(3, 3 + B)[:, None]
    return x, source, np.ones((B, 6), np.int32), real.astype(np.int32)


def across(attention: Attention, *parts: jax.Array, rotation: Rotation | None = None) -> jax.Array:
    """What queries of a decoder attend to among an encoder's states."""
    x, source, *segments = parts
    return attention(x, cross_mask(*segments), source=source, rotation=rotation)[0]


def cross_mask(queries: jax.Array, keys: jax.Array) -> Mask:
    return Mask(
        causal=False,
        queries=TokenPlaces(row_positions(queries), queries),
        keys=TokenPlaces(row_positions(keys), keys),
    )


@pytest.mark.parametrize("rotation", [None, ROTATION], ids=["plain", "rotary"])
def test_a_source_of_its_own_gives_keys_and_values(rotation: Rotation | None) -> None:
    """By the formula, from the layer's own weights; its padding is not seen."""
    x, source, queries, keys = apart(2)
    with jax.set_mesh(mesh_of()):
        attention = jax.jit(lambda: layer(2, bias=False))()
        actual = across(attention, *map(jnp.asarray, (x, source, queries, keys)), rotation=rotation)
    w_q, w_k, w_v, w_o = (
        np.asarray(w[...]) for w in (attention.w_q, attention.w_k, attention.w_v, attention.w_o)
    )
    q = np.einsum("BTD,DNH->BTNH", x, w_q)
    k, v = (np.einsum("BSD,DKH->BSKH", source, w) for w in (w_k, w_v))
    if rotation is not None:
        q, k = (np.asarray(turned(part)) for part in (q, k))
    y = softmax_attention(q, k, v, q, queries[:, :, None] == keys[:, None, :])[0]
    np.testing.assert_allclose(actual, np.einsum("BTNH,NHD->BTD", y, w_o), rtol=1e-4, atol=1e-5)


def turned(heads: np.ndarray) -> jax.Array:
    places = jnp.tile(jnp.arange(heads.shape[1]), (len(heads), 1))
    return rotate(jnp.asarray(heads), places, ROTATION)


@pytest.mark.parametrize("kernel", ["xla", "blocked"])
def test_cross_attention_is_the_same_on_a_mesh(
    kernel: str, capfd: pytest.CaptureFixture[str]
) -> None:
    x, source, queries, keys = apart(4)

    def run(**sizes: int) -> list[np.ndarray]:
        with jax.set_mesh(mesh_of(**sizes)):
            attention = jax.jit(lambda: layer(2, bias=False, kernel=kernel))()
            stream = spec("batch", None, None)
            inputs = [jax.sharding.reshard(jnp.asarray(part), stream) for part in (x, source)]

            def total(attention: Attention, x: jax.Array, source: jax.Array) -> jax.Array:
                return jnp.sum(jnp.sin(across(attention, x, source, *segments)))

            segments = rows(queries), rows(keys)
            gradient = jax.value_and_grad(total, argnums=(0, 1, 2))
            actual = jax.jit(gradient, compiler_options=QUICK)(attention, *inputs)
            return [np.asarray(leaf) for leaf in jax.tree.leaves(actual)]

    for actual, wanted in zip(run(replica=2, fsdp=2, tensor=2), run(), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    assert "Involuntary full rematerialization" not in capfd.readouterr().err


def test_keys_of_a_source_serve_again() -> None:
    """As while decoding: later queries find the keys of the first."""
    x, source, *segments = map(jnp.asarray, apart(2))
    with jax.set_mesh(mesh_of()):
        mask = cross_mask(*segments)
        attention, rotation = jax.jit(lambda: layer(2))(), ROTATION
        first, keys = attention(x, mask, source=source, rotation=rotation)
        second, kept = attention(x, mask, source=keys, rotation=rotation)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(keys.k, kept.k)


def test_a_mask_of_other_keys_is_refused() -> None:
    x, source, *segments = map(jnp.asarray, apart(2))
    with jax.set_mesh(mesh_of()):
        mask = cross_mask(*segments)
        own = Mask(causal=False, queries=mask.queries)
        attention = jax.eval_shape(lambda: layer(2))
        k = jnp.zeros((2, 10, 2, 4))
        cache = Cache(Keys(k, k), jnp.zeros((), jnp.int32))
        for arguments, words in (
            ((x, mask), "mask.keys must be the places of a source's tokens"),
            ((x, own, source), "mask.keys must be the places of a source's tokens"),
            ((x, own, None, cache), "mask.keys must be the places of a source's tokens"),
            ((x, mask, source, cache), "source must be None with a cache"),
        ):
            with pytest.raises(ValueError, match=words):
                jax.eval_shape(lambda a, arguments=arguments: a(*arguments), attention)


def pull(config: DecoderConfig, T: int, *places: np.ndarray) -> np.ndarray:
    """[T, T]: how strongly output t of the whole model moves with the token at s.

    `places` are positions and segment ids of packed rows, or nothing.
    """
    tokens = rng.permutation(config.vocab_size)[:T]
    with jax.set_mesh(mesh_of()):
        model = fresh_model(config)
        row = [jnp.asarray(part[None], jnp.int32) for part in (tokens, *places)]

        def output(table: jax.Array) -> jax.Array:
            moved = jax.tree.map(lambda value: value, model)
            moved.embedding.table[...] = table
            return moved(*row)[0]

        jacobian = jax.jit(jax.jacrev(output), compiler_options=QUICK)(model.embedding.table[...])
    return np.asarray(jnp.max(jnp.abs(jacobian), axis=(1, 3)))[:, tokens]


DOCUMENTS = np.array([1, 1, 1, 1, 1, 1, 2, 2, 2])
PLACES = np.array([0, 1, 2, 3, 4, 5, 0, 1, 2])


@pytest.mark.parametrize("family", ["gpt", "llama", "palm"])
def test_no_output_moves_with_a_later_token_or_another_document(family: str) -> None:
    actual = pull(FAMILIES[family], 9, PLACES, DOCUMENTS)
    mine = (DOCUMENTS[:, None] == DOCUMENTS) & np.tril(np.ones((9, 9), bool))
    assert (actual[~mine] == 0.0).all()
    assert (actual[mine] > 1e-6).all()


@pytest.mark.parametrize(
    ("layers", "every", "packed", "reach"),
    [(1, None, True, 3), (1, None, False, 3), (1, 2, False, 9), (2, None, False, 5)],
)
def test_a_banded_layer_reaches_its_window_back(
    layers: int, every: int | None, packed: bool, reach: int
) -> None:
    """Each banded layer adds window - 1 to the reach; GPT-3's first layer is dense.

    Positions beyond max_length are seen too where no table ends there.
    """
    changes = {"positions": "rotary", "max_length": 4, "global_every": every}
    config = dataclasses.replace(BANDED, num_layers=layers, **changes)
    actual = pull(config, 9, *([np.arange(9), np.ones(9)] if packed else []))
    distance = np.arange(9)[:, None] - np.arange(9)
    seen = (distance >= 0) & (distance < reach)
    assert (actual[~seen] == 0.0).all()
    assert (actual[seen] > 1e-6).all()


def test_every_other_layer_is_banded_and_the_first_is_dense() -> None:
    config = dataclasses.replace(BANDED, num_layers=5)
    with jax.set_mesh(mesh_of()):
        model = jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))
        windows = np.asarray(model.layers(TokenPlaces(jnp.arange(9)[None])).differing.windows)
    assert (windows[1::2] == 3).all()
    assert (windows[::2] > 1_000_000).all()
