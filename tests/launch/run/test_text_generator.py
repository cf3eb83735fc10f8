"""Text as it is written: the same in one piece and in many, on every mesh, up to where it ends."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from data.tokenizer import Tokenizer, load_tokenizer
from launch.run.text_generator import Continuation, TextGenerator, Written
from model.families.decoder import Decoder
from model.sampling import Sampling
from tests.families import GPT, LLAMA, fresh_model, on_current_mesh
from tests.models import mesh_of
from tests.vocabularies import words

NEW, SEED = 24, 6
HOT = Sampling(temperature=1.5)
PROMPTS = ["la ba de", "xa", "alpha beta gamma b c."]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(str(words(tmp_path_factory.mktemp("words") / "tokenizer.json")))


@functools.cache
def model_of(vocab_size: int) -> Decoder:
    with jax.set_mesh(mesh_of()):
        return fresh_model(dataclasses.replace(LLAMA, vocab_size=vocab_size))


def written(
    tokenizer: Tokenizer,
    prompts: list[str],
    *,
    stops: tuple[str, ...] = (),
    ends: tuple[int, ...] = (),
    limit: int | None = None,
    rounded: bool = False,
    sampling: Sampling = HOT,
    streamed: list[str] | None = None,
    fsdp: int = 1,
) -> list[Continuation]:
    """What a random model writes on; pieces of the first text are added to `streamed`."""
    with jax.set_mesh(mesh_of(fsdp=fsdp)):
        generator = TextGenerator(
            on_current_mesh(model_of(tokenizer.vocab_size)),
            tokenizer,
            new=NEW,
            sampling=sampling,
            ends=ends,
            stops=stops,
        )
        return generator.write(
            tokenizer.encode_batch(prompts),
            jax.random.key(SEED),
            limit=limit,
            rounded=rounded,
            on_text=None if streamed is None else streamed.append,
        ).continuations


def ids_of(tokenizer: Tokenizer, name: str) -> int:
    return int(tokenizer.encode_batch([name])[0][0])


@pytest.mark.parametrize("fsdp", [1, 2])
def test_what_is_streamed_joins_to_what_is_written_at_once(tokenizer: Tokenizer, fsdp: int) -> None:
    pieces: list[str] = []
    streamed = written(tokenizer, PROMPTS, streamed=pieces, fsdp=fsdp)
    assert streamed == written(tokenizer, PROMPTS, fsdp=fsdp)
    assert "".join(pieces) == streamed[0].text and len(pieces) > (9 if fsdp == 1 else 1)
    assert len({each.text for each in streamed}) == 3


def test_a_text_ends_before_the_first_stop_string_and_counts_its_tokens(
    tokenizer: Tokenizer,
) -> None:
    (free,) = written(tokenizer, PROMPTS[:1])
    assert free.ended == "length" and free.tokens == NEW
    first, second, third = free.text.split()[3:6]
    across = f"{first[-1]} {second} {third[0]}"
    assert free.text.count(across) == 1
    for streamed in (None, []):
        (stopped,) = written(tokenizer, PROMPTS[:1], stops=("never", across), streamed=streamed)
        assert stopped == Continuation(free.text.partition(across)[0], 6, "stop")
        assert streamed is None or "".join(streamed) == stopped.text


def test_a_text_ends_before_any_of_its_end_tokens(tokenizer: Tokenizer) -> None:
    (free,) = written(tokenizer, PROMPTS[:1])
    names = free.text.split()
    last = next(name for name in names[2:] if name not in names[:2])
    ends = (ids_of(tokenizer, last),)
    (ended,) = written(tokenizer, PROMPTS[:1], ends=ends)
    place = names.index(last)
    assert ended == Continuation("".join(f" {name}" for name in names[:place]), place + 1, "end")
    (short,) = written(tokenizer, PROMPTS[:1], ends=ends, limit=place)
    assert short == Continuation(ended.text, place, "length")


def test_neither_other_rows_nor_slots_change_a_text(tokenizer: Tokenizer) -> None:
    greedy = Sampling(temperature=0.0)
    together = written(tokenizer, PROMPTS, sampling=greedy)
    for prompt, wanted in zip(PROMPTS, together, strict=True):
        assert written(tokenizer, [prompt], sampling=greedy, rounded=True) == [wanted]


def test_positions_that_are_learned_end(tokenizer: Tokenizer) -> None:
    with jax.set_mesh(mesh_of()):
        config = dataclasses.replace(GPT, vocab_size=tokenizer.vocab_size)
        generator = TextGenerator(fresh_model(config), tokenizer, new=13, sampling=HOT)
        ids = [np.array([1, 2, 3])]
        result = generator.write(ids, jax.random.key(0), rounded=True)
        assert result.continuations[0].tokens == 13 or result.continuations[0].ended == "end"
        with pytest.raises(ValueError, match=r"prompt and new tokens=4 \+ 13 must be at most"):
            generator.write([np.array([1, 2, 3, 4])], jax.random.key(0))
        assert generator.write([np.arange(1, 5)], jax.random.key(0), limit=12).seconds >= 0


def test_speed_counts_the_tokens_of_all_rows() -> None:
    rows = [Continuation("a", 3, "end"), Continuation("b", 7, "length")]
    assert Written(rows, 2.5).speed == "10 tokens in 2.5 s: 4.0 tokens/s"
