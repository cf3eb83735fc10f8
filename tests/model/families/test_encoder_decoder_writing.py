"""Cached decoding with a source in view: the scores are those of the training pass, and the source
is read once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.families.encoder_decoder import EncoderDecoder
from model.families.encoder_decoder_writing import ModelWithSource, with_source
from model.generate import CachedModel, generate, prefill, slots, step
from model.sampling import Sampling
from model.sharding import spec
from tests.families import QUICK
from tests.model.families.test_encoder_decoder import KINDS, SMALL, fresh
from tests.models import mesh_of

GREEDY = Sampling(temperature=0.0)
draw = np.random.default_rng(0)
LENGTHS = (7, 3, 10, 5)
SOURCES = [draw.integers(0, 29, length) for length in LENGTHS]
WRITTEN = draw.integers(0, 29, (4, 6)).astype(np.int32)


def padded() -> tuple[np.ndarray, np.ndarray]:
    tokens, real = np.full((4, 10), 7, np.int32), np.zeros((4, 10), bool)
    for row, source in enumerate(SOURCES):
        tokens[row, : len(source)], real[row, : len(source)] = source, True
    return tokens, real


def uncached(model: EncoderDecoder, row: int, written: np.ndarray) -> np.ndarray:
    """Logits after each token, by the training pass, of one row by itself."""
    run = jax.jit(lambda m, *tokens: m.logits(m(*tokens)), compiler_options=QUICK)
    sources = jnp.asarray(SOURCES[row][None], jnp.int32)
    return np.asarray(run(model, sources, jnp.asarray(written[None], jnp.int32)))[0]


@pytest.mark.parametrize("kind", ["t5", "vaswani", pytest.param("learned", marks=pytest.mark.long)])
def test_cached_logits_are_those_of_the_uncached_pass(kind: str) -> None:
    """The encoder is lost once the source is read."""
    with jax.set_mesh(mesh_of()):
        model = fresh(KINDS[kind])
        tokens, real = map(jnp.asarray, padded())
        places = slots(jnp.ones((4, 2), bool), 4)

        def write(model: ModelWithSource) -> list[jax.Array]:
            assert isinstance(model, CachedModel)
            x, keys = prefill(model, jnp.asarray(WRITTEN[:, :2]), places)
            scores = [model.logits(x)]
            for n in range(2, 6):
                token = jnp.asarray(WRITTEN[:, n])
                x, keys = step(model, token, jnp.asarray(n), keys, places)
                scores.append(model.logits(x[:, None]))
            return scores

        reader = jax.jit(with_source, compiler_options=QUICK)(model, tokens, real)
        lost = jax.tree.map(lambda leaf: leaf * jnp.nan, model.encoder)
        blind = jax.tree.map(lambda leaf: leaf, model)
        blind.encoder = lost
        scores = jax.jit(write, compiler_options=QUICK)(dataclasses.replace(reader, model=blind))
        actual = np.concatenate(list(map(np.asarray, scores)), axis=1)
        for row in range(4):
            wanted = uncached(model, row, WRITTEN[row])
            np.testing.assert_allclose(actual[row], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "sizes",
    [pytest.param({}, marks=pytest.mark.long), {"fsdp": 2, "tensor": 2}],
    ids=["one", "mesh"],
)
def test_greedy_decoding_takes_the_likeliest_token_each_time(sizes: dict[str, int]) -> None:
    with jax.set_mesh(mesh_of()):
        model, wanted = fresh(SMALL), []
        for row in range(4):
            written = [0]
            for _ in range(4):
                scores = uncached(model, row, np.array(written + [0] * (5 - len(written))))
                written.append(int(np.argmax(scores[len(written) - 1, :29])))
            wanted.append(written[1:])
    with jax.set_mesh(mesh_of(**sizes)):

        def write(model: EncoderDecoder, *source: jax.Array) -> jax.Array:
            begin = jnp.zeros_like(source[0][:, :1])
            seen = with_source(model, *source)
            real, key = jnp.ones_like(begin, bool), jax.random.key(0)
            return generate(seen, begin, real, key, new=4, sampling=GREEDY)

        source = jax.device_put(padded(), spec("batch", None))
        run = jax.jit(write, compiler_options=QUICK)
        assert np.asarray(run(fresh(SMALL), *source)).tolist() == wanted
