"""Beam search: wide beams find the best of all texts, narrow ones what a plain search finds."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.beams import Beams, beam_search
from model.families.decoder import Decoder
from model.families.encoder_decoder import EncoderDecoder
from model.families.recurrent_config import RecurrentConfig
from model.families.recurrent_encoder_decoder import RecurrentEncoderDecoder
from model.families.table import with_source
from model.sharding import spec
from tests.families import LLAMA, QUICK, fresh_model
from tests.model.families.test_encoder_decoder import SMALL, fresh
from tests.models import mesh_of
from tests.system.test_recurrent_parity import PAIRS

V, NEW, BEGIN, ENDS = 7, 4, 0, (3, 4)
WRITER = dataclasses.replace(SMALL, vocab_size=V, init_std=1.0)
# Small enough that attention is to several tokens, and the cache of each beam matters.
DECODER = dataclasses.replace(LLAMA, vocab_size=V, init_std=0.3)
PROMPTS = np.array([[1, 2, 2], [2, 1, 0], [0, 0, 1], [2, 4, 1]], np.int32)
"""Sources of the encoder-decoder."""
ALL = np.array(list(itertools.product(range(V), repeat=NEW)), np.int32)


RECURRENT = dataclasses.replace(PAIRS, vocab_size=V, init_std=0.7, dropout=0.0)
READERS = (EncoderDecoder, RecurrentEncoderDecoder)


def search(model: Any, prompts: jax.Array, beams: Beams) -> tuple[jax.Array, jax.Array]:
    real = jnp.ones_like(prompts, bool)
    if isinstance(model, READERS):
        model = with_source(model, prompts, real)
        prompts = jnp.full_like(prompts[:, :1], BEGIN)
        real = real[:, :1]
    return beam_search(model, prompts, real, new=NEW, beams=beams, ends=ENDS)


def model_of(family: str) -> EncoderDecoder | Decoder | RecurrentEncoderDecoder:
    if family == "recurrent":
        make = jax.jit(lambda: RECURRENT.build(jax.random.key(0)), compiler_options=QUICK)
        model = make()
        model.embedding.table[...] *= 3
        return model
    return fresh(WRITER) if family == "encoder_decoder" else fresh_model(DECODER)


@functools.cache
def log_probs(family: str) -> np.ndarray:
    """Of every token of every text of each prompt [4, V**NEW, NEW, V], by the training pass."""

    def score(model: Any, row: jax.Array) -> jax.Array:
        many, texts = jnp.tile(row, (len(ALL), 1)), jnp.asarray(ALL)
        if isinstance(model, READERS):
            first = jnp.full_like(texts[:, :1], BEGIN)
            x = model(many, jnp.concatenate([first, texts[:, :-1]], axis=1))
        else:
            x = model(jnp.concatenate([many, texts], axis=1))[:, 2:-1]
        return jax.nn.log_softmax(model.logits(x)[..., :V])

    with jax.set_mesh(mesh_of()):
        run, model = jax.jit(score, compiler_options=QUICK), model_of(family)
        return np.stack([np.asarray(run(model, row), np.float64) for row in PROMPTS])


def following(family: str, row: int, text: tuple[int, ...]) -> np.ndarray:
    """Log-probabilities of the token after a text."""
    place = sum(token * V ** (NEW - 1 - n) for n, token in enumerate(text))
    return log_probs(family)[row, place, len(text)]


def score(family: str, row: int, text: tuple[int, ...], A: float) -> float:
    total = sum(following(family, row, text[:n])[text[n]] for n in range(len(text)))
    return total / len(text) ** A


def complete(text: tuple[int, ...]) -> bool:
    return text[-1] in ENDS or len(text) == NEW


def exhaustive(family: str, row: int, A: float) -> tuple[int, ...]:
    """The best of all texts."""
    texts = {
        text[: next((n for n, t in enumerate(text, 1) if t in ENDS), NEW)]
        for text in map(tuple, ALL.tolist())
    }
    return max(texts, key=lambda text: score(family, row, text, A))


def plain(family: str, row: int, beams: Beams) -> tuple[int, ...]:
    """The best text that beams find, followed to the last token."""
    live, done = [()], []
    for _ in range(NEW):
        more = [(*text, token) for text in live for token in range(V)]
        more.sort(key=lambda text: -score(family, row, text, 0))
        done += [text for text in more[: beams.count] if complete(text)]
        live = [text for text in more if not complete(text)][: beams.count]
    return max(done, key=lambda text: score(family, row, text, float(beams.length_penalty)))


def check(family: str, count: int, penalties: tuple[float, ...], **sizes: int) -> int:
    """Hold what beams find to a plain search; how often that is not the best of all texts."""
    run, missed = jax.jit(search, compiler_options=QUICK), 0
    with jax.set_mesh(mesh_of(**sizes)):
        model, prompts = model_of(family), jax.device_put(PROMPTS, spec("batch", None))
        for A in penalties:
            beams = Beams(count=count, length_penalty=A)
            tokens, scores = map(np.asarray, run(model, prompts, beams))
            for row in range(len(PROMPTS)):
                wanted = plain(family, row, beams)
                missed += wanted != exhaustive(family, row, A)
                assert tokens[row].tolist() == [*wanted, *[ENDS[0]] * (NEW - len(wanted))]
                own = score(family, row, wanted, A)
                np.testing.assert_allclose(scores[row], own, rtol=1e-5)
    return missed


def test_as_many_beams_as_texts_find_the_best_of_all() -> None:
    assert check("decoder", V ** (NEW - 1), (0.7,)) == 0


def test_fewer_beams_find_on_a_mesh_what_a_plain_search_finds() -> None:
    sizes = {"replica": 2, "fsdp": 2, "tensor": 2}
    assert check("encoder_decoder", 2, (-1.0, 1.0), **sizes) > 1


def test_states_follow_their_beams() -> None:
    check("recurrent", 2, (1.0,))


class Chain:
    """A network to which the last token alone says what comes next."""

    config = RecurrentConfig(vocab_size=5, num_layers=1, embed_dim=2, hidden_dim=2)

    def __init__(self, goes_on: float) -> None:
        """`goes_on` is the probability of 3 after 2; else it mostly ends."""
        self.follows = np.array(
            [
                [0.04, 0.5, 0.4, 0.03, 0.03],
                [0.2, 0.2, 0.2, 0.2, 0.2],
                [0.003, 0.003, 0.004, goes_on, 0.99 - goes_on],
                [0.01, 0.01, 0.96, 0.01, 0.01],
                [0.2, 0.2, 0.2, 0.2, 0.2],
            ]
        )

    def empty_keys(self, B: int, S: int) -> jax.Array:
        return jnp.zeros((1, B, 1))

    def decode(
        self, tokens: jax.Array, places: Any, keys: jax.Array, slots: Any, start: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return jax.nn.one_hot(tokens, 5), keys

    def logits(self, x: jax.Array) -> jax.Array:
        return x @ jnp.log(jnp.asarray(self.follows, jnp.float32))


@pytest.mark.parametrize("goes_on", [0.49, 0.5])
def test_tokens_follow_their_beams(goes_on: float) -> None:
    """The best text, 2 3 2, comes from the second beam, and is before or behind one that ends."""
    start = jnp.zeros((1, 1), jnp.int32)
    settings: Any = {"new": 3, "beams": Beams(count=2), "ends": (4,)}
    with jax.set_mesh(mesh_of()):
        run = jax.jit(functools.partial(beam_search, Chain(goes_on), **settings))
        tokens, scores = run(start, jnp.ones_like(start, bool))
    assert tokens.tolist() == [[2, 3, 2]]
    assert float(scores[0]) == pytest.approx(np.log(0.4 * goes_on * 0.96) / 3, rel=1e-5)


def test_no_beams_are_refused() -> None:
    with pytest.raises(ValueError, match="beams=0 must be at least 1"):
        Beams(count=0)
