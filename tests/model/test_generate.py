import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.families.decoder import Decoder
from model.generate import begin, generate, prefill, slots, step, write
from model.sampling import Sampling, sample, seen_in
from tests.families import BANDED, FAMILIES, GPT, LLAMA, QUICK, fresh_model, on_current_mesh, rows
from tests.models import mesh_of

GREEDY = Sampling(temperature=0.0)
rng = np.random.default_rng(0)
TEXTS = [rng.integers(0, 29, length).astype(np.int32) for length in (3, 6, 1, 4)]
CONTINUED = rng.integers(0, 29, (4, 3)).astype(np.int32)
P, NEW = 6, 5


@functools.cache
def model_of(family: str) -> Decoder:
    with jax.set_mesh(mesh_of()):
        return fresh_model(FAMILIES[family])


@jax.jit
def scores(model: Decoder, tokens: jax.Array) -> jax.Array:
    return model.logits(model(tokens))


def uncached(family: str, text: np.ndarray) -> np.ndarray:
    """Logits of one text by itself, by the training pass; what follows it cannot matter."""
    row = np.zeros((1, 11), np.int32)
    row[0, : len(text)] = text
    with jax.set_mesh(mesh_of()):
        return np.asarray(scores(model_of(family), jnp.asarray(row)))[0, : len(text)]


def padded(side: str) -> tuple[np.ndarray, np.ndarray]:
    """The texts as rows of P slots, padded with tokens that would be seen if they could be."""
    tokens, real = np.full((4, P), 7, np.int32), np.zeros((4, P), bool)
    for row, text in enumerate(TEXTS):
        where = slice(P - len(text), P) if side == "left" else slice(0, len(text))
        tokens[row, where], real[row, where] = text, True
    return tokens, real


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["gpt", "llama", "palm", "banded"])
def test_cached_logits_are_those_of_the_uncached_pass(family: str, side: str) -> None:
    tokens, real = padded(side)
    model = model_of(family)
    with jax.set_mesh(mesh_of()):
        places = slots(jnp.asarray(real), 3)

        def read(model: Decoder) -> list[jax.Array]:
            x, keys = prefill(model, jnp.asarray(tokens), places)
            actual = [model.logits(x)]
            for i in range(3):
                token = jnp.asarray(CONTINUED[:, i])
                x, keys = step(model, token, jnp.asarray(P + i), keys, places)
                actual.append(model.logits(x[:, None]))
            return actual

        first, *later = map(np.asarray, jax.jit(read, compiler_options=QUICK)(model))
    for row, text in enumerate(TEXTS):
        wanted = uncached(family, np.concatenate([text, CONTINUED[row]]))
        actual = np.concatenate([first[row, real[row]], *(part[row] for part in later)])
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-4)


def written(
    family: str,
    sampling: Sampling,
    side: str = "left",
    ends: tuple[int, ...] = (),
    seed: int = 0,
    **sizes: int,
) -> np.ndarray:
    """What `generate` writes on from the texts."""
    with jax.set_mesh(mesh_of(**sizes)):
        run = jax.jit(generate, static_argnames=("new", "sampling", "ends"), compiler_options=QUICK)
        model = on_current_mesh(model_of(family))
        tokens, real = (rows(part) for part in padded(side))
        key = jax.random.key(seed)
        return np.asarray(run(model, tokens, real, key, new=NEW, sampling=sampling, ends=ends))


@functools.cache
def greedy(family: str) -> np.ndarray:
    return written(family, GREEDY)


@pytest.mark.parametrize("family", ["gpt", "llama"])
def test_greedy_is_the_argmax_of_the_uncached_pass(family: str) -> None:
    for row, text in enumerate(TEXTS):
        for _ in range(NEW):
            best = np.argmax(uncached(family, text)[-1, :29])
            text = np.append(text, best)
        np.testing.assert_array_equal(greedy(family)[row], text[-NEW:])


def test_the_side_of_the_padding_does_not_matter() -> None:
    np.testing.assert_array_equal(written("llama", GREEDY, side="right"), greedy("llama"))


PENALIZED = Sampling(temperature=0.0, repetition_penalty=1.7)


def test_a_penalty_is_that_of_the_tokens_of_prompt_and_text() -> None:
    actual = written("llama", PENALIZED)
    assert not np.array_equal(actual, greedy("llama"))
    for row, text in enumerate(TEXTS):
        for _ in range(NEW):
            logits = uncached("llama", text)[-1, :29].copy()
            for token in set(text.tolist()):
                logits[token] *= 1 / 1.7 if logits[token] > 0 else 1.7
            text = np.append(text, np.argmax(logits))
        np.testing.assert_array_equal(actual[row], text[-NEW:])
    several = written("llama", PENALIZED, replica=2, fsdp=2, tensor=2)
    np.testing.assert_array_equal(several, actual)


@pytest.mark.parametrize("fsdp", [1, 2])
def test_padding_is_not_penalized(fsdp: int) -> None:
    tokens, real = padded("left")
    with jax.set_mesh(mesh_of(fsdp=fsdp)):
        seen = jax.jit(functools.partial(seen_in, V=32))(rows(tokens), rows(real))
    for row, text in zip(np.asarray(seen), TEXTS, strict=True):
        np.testing.assert_array_equal(row, np.isin(np.arange(32), text))


@pytest.mark.parametrize("fsdp", [1, 2])
def test_parts_join_to_what_is_written_at_once(fsdp: int) -> None:
    sampling, ends = Sampling(repetition_penalty=1.2), (3, 5, 7)
    key = jax.random.key(1)
    with jax.set_mesh(mesh_of(fsdp=fsdp)):
        model = on_current_mesh(model_of("llama"))
        tokens, real = (rows(part) for part in padded("left"))
        first = functools.partial(begin, new=NEW, sampling=sampling)
        more = functools.partial(write, most=4, sampling=sampling, ends=ends)
        draft = jax.jit(first, compiler_options=QUICK)(model, tokens, real)
        program, parts = jax.jit(more, compiler_options=QUICK), []
        for count in (0, 1, 3, 1):
            part, draft = program(model, draft, key, jnp.asarray(count))
            assert (np.asarray(part)[:, count:] == ends[0]).all()
            parts.append(np.asarray(part)[:, :count])
    whole = written("llama", sampling, ends=ends, seed=1, fsdp=fsdp)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize("family", ["llama", "banded"])
def test_a_mesh_writes_what_a_single_device_writes(family: str) -> None:
    actual = written(family, GREEDY, replica=2, fsdp=2, tensor=2)
    np.testing.assert_array_equal(actual, greedy(family))


def test_a_row_that_ended_holds_nothing_but_the_first_end() -> None:
    free = greedy("gpt")
    end = int(free[0, 1])
    other = next(token for token in range(29) if token not in free)
    stopped = written("gpt", GREEDY, ends=(other, end))
    assert (stopped[0, 2:] == other).all()
    for row, wanted in zip(stopped, free, strict=True):
        first = np.flatnonzero(wanted == end)
        live = first[0] + 1 if len(first) else NEW
        np.testing.assert_array_equal(row[:live], wanted[:live])
        assert (row[live:] == other).all()


def test_padding_of_the_vocabulary_is_never_written() -> None:
    hot = Sampling(temperature=1e4)
    actual = np.concatenate([written("gpt", hot, seed=seed) for seed in range(5)])
    assert actual.max() < 29
    assert len(np.unique(actual)) > 20


def test_learned_positions_end() -> None:
    row = jnp.zeros((1, 12), jnp.int32)
    real = jnp.ones((1, 12), bool)
    words = r"12 \+ 5 must be at most model\.max_length=16.*try 4 new tokens"
    with jax.set_mesh(mesh_of()):
        for config, fits in ((GPT, False), (BANDED, False), (LLAMA, True)):
            model = jax.eval_shape(functools.partial(Decoder, config), jax.random.key(0))
            call = functools.partial(generate, new=5, sampling=GREEDY)
            if fits:
                out = jax.eval_shape(call, model, row, real, jax.random.key(0))
                assert out.shape == (1, 5)
            else:
                with pytest.raises(ValueError, match=words):
                    jax.eval_shape(call, model, row, real, jax.random.key(0))


def drawn(logits: np.ndarray, sampling: Sampling, draws: int = 4000) -> np.ndarray:
    """Shares in which the tokens are drawn."""
    many = jnp.tile(jnp.asarray(logits, jnp.float32), (draws, 1))
    tokens = sample(many, jax.random.key(1), sampling)
    return np.bincount(np.asarray(tokens), minlength=len(logits)) / draws


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


LOGITS = st.lists(st.integers(-20, 20), min_size=6, max_size=6, unique=True).map(
    lambda values: np.array(values) / 8
)


@given(logits=LOGITS, temperature=st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=8)
def test_temperature_divides_the_logits(logits: np.ndarray, temperature: float) -> None:
    actual = drawn(logits, Sampling(temperature=temperature))
    np.testing.assert_allclose(actual, softmax(logits / temperature), atol=0.04)


@given(logits=LOGITS, k=st.integers(1, 8))
@settings(max_examples=8)
def test_top_k_draws_among_the_k_likeliest_in_proportion(logits: np.ndarray, k: int) -> None:
    kept = np.isin(np.arange(6), np.argsort(logits)[-k:])
    wanted = softmax(np.where(kept, logits, -np.inf))
    actual = drawn(logits, Sampling(top_k=k))
    assert (actual[~kept] == 0).all()
    np.testing.assert_allclose(actual, wanted, atol=0.04)


@given(logits=LOGITS, p=st.sampled_from([0.1, 0.45, 0.8, 1.0]))
@settings(max_examples=8)
def test_top_p_draws_among_the_fewest_that_have_p(logits: np.ndarray, p: float) -> None:
    order = np.argsort(-logits)
    reached = np.cumsum(softmax(logits)[order])
    count = min(int(np.searchsorted(reached, p)) + 1, 6)
    kept = np.isin(np.arange(6), order[:count])
    actual = drawn(logits, Sampling(top_p=p))
    assert (actual[~kept] == 0).all()
    np.testing.assert_allclose(actual, softmax(np.where(kept, logits, -np.inf)), atol=0.04)


def test_temperature_zero_takes_the_likeliest() -> None:
    actual = drawn(np.array([0.1, 0.3, 0.2]), GREEDY, draws=10)
    np.testing.assert_array_equal(actual, [0, 1, 0])


def test_rows_and_keys_are_drawn_independently() -> None:
    logits = jnp.zeros((64, 16))
    first, again, other = (sample(logits, jax.random.key(k), Sampling()) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first)) > 8


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"temperature": -1.0}, r"temperature=-1.0 must be at least 0"),
        ({"top_k": 0}, r"top_k=0 must be at least 1"),
        ({"top_p": 0.0}, r"top_p=0.0 must be above 0 and at most 1"),
        ({"top_p": 1.5}, r"top_p=1.5 must be above 0"),
        ({"repetition_penalty": 0.0}, r"repetition_penalty=0.0 must be above 0 and finite"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(values: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(Sampling(), **values)
