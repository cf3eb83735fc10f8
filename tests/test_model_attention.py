import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import BANDED, FAMILIES, GPT, LLAMA, QUICK, fresh_model, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from models import mesh_of

from model.attention import Attention, Context, attend, choose_kernel, visible
from model.families.decoder import Decoder
from model.families.decoder_config import DecoderConfig
from model.sharding import spec

rng = np.random.default_rng(0)


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)


@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    window=st.one_of(st.none(), st.integers(1, 6)),
)
@settings(max_examples=25)
def test_a_query_sees_its_document_up_to_itself_within_the_window(
    lengths: list[int], window: int | None
) -> None:
    positions = [place for length in lengths for place in range(length)]
    segments = [number for number, length in enumerate(lengths, 1) for _ in range(length)]
    row = Context(jnp.asarray([positions]), jnp.asarray([segments]))
    mask = np.asarray(visible(row, row, window))[0, 0]
    for t in range(len(positions)):
        for s in range(len(positions)):
            wanted = segments[s] == segments[t] and s <= t
            if window is not None:
                wanted = wanted and t - s < window
            assert mask[t, s] == wanted
    assert mask.diagonal().all()


def test_without_segments_a_row_is_one_document() -> None:
    row = Context(jnp.arange(5)[None], None)
    np.testing.assert_array_equal(visible(row, row, None)[0, 0], np.tril(np.ones((5, 5), bool)))


@pytest.mark.parametrize("K", [1, 2, 4])
def test_grouped_heads_are_repeated_heads(K: int) -> None:
    q, k, v = normal(2, 6, 8, 4), normal(2, 6, K, 4), normal(2, 6, K, 4)
    many_k, many_v = (jnp.repeat(part, 8 // K, axis=2) for part in (k, v))
    with jax.set_mesh(mesh_of()):
        grouped = attend(q, k, v, None, causal=True, kernel="xla")
        wanted = attend(q, many_k, many_v, None, causal=True, kernel="xla")
    np.testing.assert_allclose(grouped, wanted, rtol=1e-5, atol=1e-6)


def test_attention_is_the_softmax_of_scaled_scores() -> None:
    q, k, v = normal(1, 4, 2, 8), normal(1, 4, 2, 8), normal(1, 4, 2, 8)
    scores = np.einsum("BTNH,BSNH->BNTS", q, k) / np.sqrt(8)
    weights = np.exp(np.where(np.tril(np.ones((4, 4))), scores, -np.inf))
    wanted = np.einsum("BNTS,BSNH->BTNH", weights / weights.sum(-1, keepdims=True), v)
    row = Context(jnp.arange(4)[None], None)
    with jax.set_mesh(mesh_of()):
        causal = attend(q, k, v, None, causal=True, kernel="xla")
        masked = attend(q, k, v, visible(row, row, None), causal=False, kernel="xla")
    np.testing.assert_allclose(causal, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(masked, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "device", "backend"),
    [
        ("cudnn", "GPU", "cpu"),
        ("cudnn", "GPU", "tpu"),
        ("splash", "TPU", "cpu"),
        ("splash", "TPU", "gpu"),
    ],
)
def test_a_kernel_the_backend_does_not_have_is_refused(
    kernel: str, device: str, backend: str
) -> None:
    config = dataclasses.replace(GPT, attention=kernel)
    with pytest.raises(
        ValueError, match=rf"attention={kernel} must run on a {device}.*backend is {backend}"
    ):
        choose_kernel(config, backend)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": "float32"}, r"model\.dtype=float32 must be bfloat16 .*; try --model\.dtype bf"),
        ({"dtype": "bfloat16", "head_dim": 256}, r"model\.head_dim=256 must be at most 128 "),
    ],
)
def test_what_cudnn_does_not_take_is_refused(changes: dict[str, object], words: str) -> None:
    config = dataclasses.replace(GPT, **{"attention": "cudnn", **changes})
    with pytest.raises(ValueError, match=words):
        choose_kernel(config, "gpu")


@pytest.mark.parametrize(
    ("backend", "changes", "kernel"),
    [
        ("cpu", {}, "blocked"),
        ("tpu", {"dtype": "bfloat16"}, "splash"),
        ("tpu", {"dtype": "float32", "head_dim": 256}, "splash"),
        ("tpu", {"attention": "splash", "dtype": "bfloat16"}, "splash"),
        ("tpu", {"attention": "xla", "dtype": "bfloat16"}, "xla"),
        ("gpu", {"dtype": "bfloat16"}, "cudnn"),
        ("gpu", {"dtype": "float32"}, "xla"),
        ("gpu", {"dtype": "bfloat16", "head_dim": 256}, "xla"),
        ("gpu", {"attention": "xla", "dtype": "bfloat16"}, "xla"),
        ("gpu", {"attention": "cudnn", "dtype": "bfloat16"}, "cudnn"),
        ("gpu", {"attention": "blocked", "dtype": "float32"}, "blocked"),
        ("tpu", {"attention": "blocked", "head_dim": 256}, "blocked"),
    ],
)
def test_auto_takes_the_kernel_that_serves_the_backend(
    backend: str, changes: dict[str, object], kernel: str
) -> None:
    config = dataclasses.replace(GPT, **{"attention": "auto", **changes})
    assert choose_kernel(config, backend) == kernel


@pytest.mark.parametrize("K", [1, 2])
def test_fewer_key_heads_than_shards_of_tensor(K: int) -> None:
    config = dataclasses.replace(LLAMA, num_kv_heads=K)
    x, positions = np.asarray(normal(2, 6, 16)), np.tile(np.arange(6, dtype=np.int32), (2, 1))

    def run(**sizes: int) -> np.ndarray:
        with jax.set_mesh(mesh_of(**sizes)):
            attention = jax.jit(lambda: Attention(config, jax.random.key(0)))()
            inputs = jax.sharding.reshard(jnp.asarray(x), spec("batch", None, None))
            call = jax.jit(lambda a, x, p: a(x, Context(p, None))[0], compiler_options=QUICK)
            return np.asarray(call(attention, inputs, rows(positions)))

    np.testing.assert_allclose(run(tensor=8), run(), rtol=1e-5, atol=1e-6)


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
    found = pull(FAMILIES[family], 9, PLACES, DOCUMENTS)
    mine = (DOCUMENTS[:, None] == DOCUMENTS) & np.tril(np.ones((9, 9), bool))
    assert (found[~mine] == 0.0).all()
    assert (found[mine] > 1e-6).all()


@pytest.mark.parametrize(
    ("layers", "which", "packed", "reach"),
    [(1, "all", True, 3), (1, "all", False, 3), (1, "alternate", False, 9), (2, "all", False, 5)],
)
def test_a_banded_layer_reaches_its_window_back(
    layers: int, which: str, packed: bool, reach: int
) -> None:
    """Each banded layer adds window - 1 to the reach; GPT-3's first layer is dense.

    Positions beyond max_length are seen too where no table ends there.
    """
    changes = {"positions": "rotary", "max_length": 4, "window_layers": which}
    config = dataclasses.replace(BANDED, num_layers=layers, **changes)
    found = pull(config, 9, *([np.arange(9), np.ones(9)] if packed else []))
    distance = np.arange(9)[:, None] - np.arange(9)
    seen = (distance >= 0) & (distance < reach)
    assert (found[~seen] == 0.0).all()
    assert (found[seen] > 1e-6).all()


def test_every_other_layer_is_banded_and_the_first_is_dense() -> None:
    config = dataclasses.replace(BANDED, num_layers=5)
    with jax.set_mesh(mesh_of()):
        model = jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))
        windows = np.asarray(model.windows())
    assert (windows[1::2] == 3).all()
    assert (windows[::2] > 1_000_000).all()
