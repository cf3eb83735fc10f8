"""Recurrent networks: what is written token by token is what the whole row gives."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from data.errors import UserError
from model.attention.mask import TokenPlaces
from model.families.table import with_source
from model.flops import parameter_count
from model.generate import generate
from model.head_config import HeadConfig
from model.sampling import Sampling
from model.sharding import abstract_mesh
from tests.families import QUICK
from tests.models import mesh_of
from tests.system.test_recurrent_parity import LANGUAGE, PAIRS

NEW, END = 6, 3
REAL = np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0]], bool)
"""Prompts of unequal lengths, padded on either side."""
GREEDY = Sampling(temperature=0.0)
CONFIGS = {
    "lstm": LANGUAGE,
    "gru": replace(LANGUAGE, cell="gru", tied_embedding=False, embed_dim=8),
    "pairs": PAIRS,
    "pairs without attention": replace(
        PAIRS, cell="gru", num_layers=2, bidirectional=False, attention=False
    ),
}


def labels(pooling: Any) -> HeadConfig:
    return HeadConfig(kind="labels", outputs=2, pooling=pooling)


@pytest.fixture(autouse=True)
def _mesh() -> Iterator[None]:
    with jax.set_mesh(mesh_of()):
        yield


@functools.cache
def fresh(name: str) -> Any:
    model = jax.jit(lambda: CONFIGS[name].build(jax.random.key(0)), compiler_options=QUICK)()
    model.embedding.table[...] *= 10
    return model


def tokens_of(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, LANGUAGE.vocab_size, shape).astype(np.int32)


@functools.partial(jax.jit, static_argnames="sampling", compiler_options=QUICK)
def written(model: Any, prompt: Any, real: Any, sampling: Sampling) -> Any:
    return generate(model, prompt, real, jax.random.key(0), new=NEW, sampling=sampling)


@functools.partial(jax.jit, compiler_options=QUICK)
def scores_of(model: Any, tokens: Any, source: Any, real: Any) -> Any:
    if source is None:
        return model.logits(model(tokens))
    places = TokenPlaces(jnp.zeros_like(source), real.astype(jnp.int32))
    own = TokenPlaces(jnp.zeros_like(tokens), jnp.ones_like(tokens))
    return model.logits(model(source, tokens, places, own))


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_written_is_the_likeliest_of_the_whole_row(name: str) -> None:
    model, prompt = fresh(name), tokens_of(REAL.shape)
    reads = name.startswith("pairs")
    source = tokens_of((3, 7), seed=1) if reads else None
    known = np.arange(7)[None] >= np.array([[0], [2], [4]])
    own = model
    if reads:
        own = jax.jit(with_source, compiler_options=QUICK)(model, source, known)
    out = np.asarray(written(own, jnp.asarray(prompt), jnp.asarray(REAL), GREEDY))
    for row, real in enumerate(REAL):
        whole = np.concatenate([prompt[row][real], out[row]])
        filled = np.zeros((1, REAL.shape[1] + NEW), np.int32)
        filled[0, : len(whole)] = whole
        read = None if source is None else jnp.asarray(source[row : row + 1])
        scores = scores_of(model, jnp.asarray(filled), read, jnp.asarray(known[row : row + 1]))
        scores = np.asarray(scores)[0, :, : LANGUAGE.vocab_size]
        first = int(real.sum()) - 1
        np.testing.assert_array_equal(scores[first : first + NEW].argmax(-1), out[row])


def test_sampling_does_not_depend_on_padding() -> None:
    model, prompt = fresh("lstm"), tokens_of((2, 3))
    left = np.concatenate([np.zeros((2, 2), np.int32), prompt], axis=1)
    real = np.arange(5)[None].repeat(2, 0) >= 2
    sampling = Sampling(temperature=1.0)
    first = written(model, jnp.asarray(left), jnp.asarray(real), sampling)
    right = np.concatenate([prompt, np.ones((2, 2), np.int32)], axis=1)
    second = written(model, jnp.asarray(right), jnp.asarray(real[:, ::-1]), sampling)
    np.testing.assert_array_equal(first, second)


def test_parameters_are_those_of_torch_less_a_bias_that_is_added_twice() -> None:
    """torch.nn.LSTM(16, 16, 2) has 4,352, of which 128 are second biases; its GRU 3,264 and 64."""
    table = 32 * 16
    for cell, count in (("lstm", 4352 - 128), ("gru", 3264 - 64)):
        config = replace(LANGUAGE, cell=cell)
        assert parameter_count(config) == table + count


@pytest.mark.parametrize(
    ("axis", "reason"), [("tensor", "all channels"), ("context", "would wait for")]
)
def test_a_mesh_that_cuts_states_or_rows_is_refused(axis: str, reason: str) -> None:
    # JAX lets a mesh of another size follow only an empty one.
    empty, key = jax.sharding.use_abstract_mesh(AbstractMesh((), ())), jax.random.key(0)
    for config in (LANGUAGE, PAIRS):
        mesh = jax.sharding.use_abstract_mesh(abstract_mesh(**{axis: 2}))
        with empty, mesh, pytest.raises(UserError, match=reason) as error:
            config.build(key)
        assert f"mesh.{axis}=2" in str(error.value) and config.kind in str(error.value)
        assert f"--mesh.{axis} 1 --mesh.fsdp 2" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"bidirectional": True}, "bidirectional=True"),
        ({"embed_dim": 8}, "embed_dim=8"),
        ({"hidden_dim": 15, "bidirectional": True}, "hidden_dim=15"),
        ({"head": HeadConfig(kind="span")}, "head.kind=span"),
        ({"head": HeadConfig(kind="labels", outputs=2)}, "pooling=first must be mean or last"),
        ({"head": labels("first_and_mean")}, "pooling=first_and_mean must be mean or last"),
        (
            {"head": labels("last"), "bidirectional": True},
            "pooling=last must be mean with .*bidirectional=True",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError, match=field):
        replace(LANGUAGE, **changes)


def test_an_encoder_decoder_has_no_labels() -> None:
    with pytest.raises(UserError, match="must be language"):
        replace(PAIRS, head=HeadConfig(kind="labels", outputs=2))
