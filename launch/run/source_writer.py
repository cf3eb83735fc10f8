"""Writing of sources: each text is read whole, and another is written of it."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from data.tokenizer import Tokenizer
from launch.run.text_generator import TextGenerator, Written, placed_rows, rounded_slots
from model.beams import Beams, beam_search
from model.families.table import with_source
from model.generate import generate, require_positions
from model.sampling import Sampling
from model.sharding import axis_size

_with_source = jax.jit(with_source)
FEWEST_SOURCE_SLOTS = 16
"""That a source takes where sources of many lengths come."""


def write_of_sources(
    model: Any,
    tokenizer: Tokenizer,
    sources: Sequence[str],
    generator: Callable[[Any], TextGenerator],
    key: jax.Array,
    on_text: Callable[[str], None] | None = None,
) -> Written:
    """What an encoder-decoder writes of each source; `generator` makes what writes with a model,
    and `on_text` gets a line's end and the pieces of the first text.

    Raises ValueError when the model's positions end.
    """
    ids = [np.append(part, tokenizer.end.id) for part in tokenizer.encode_batch(list(sources))]
    require_positions(model.config, max(map(len, ids)), 0)
    reader = _with_source(model, *placed_rows(tokenizer, ids))
    if on_text is not None:
        on_text("\n")
    begins, nothing = np.array([tokenizer.begin.id]), np.array([], np.int64)
    count = len(sources)
    written = generator(reader).write(
        [begins] * count, key, before=[nothing] * count, on_text=on_text
    )
    return written._replace(apart=True)


@functools.partial(jax.jit, static_argnames=("begin", "new", "ends"))
def _likeliest(
    model: Any,
    sources: jax.Array,
    real: jax.Array,
    beams: Beams | None,
    *,
    begin: int,
    new: int,
    ends: tuple[int, ...],
) -> jax.Array:
    """The text [B, new] that is taken to be the likeliest of each source [B, S]."""
    reader = with_source(model, sources, real)
    first = jnp.full_like(sources[:, :1], begin)
    prompt = first, jnp.ones_like(first, bool)
    if beams is not None:
        return beam_search(reader, *prompt, new=new, beams=beams, ends=ends)[0]
    greedy = Sampling(temperature=0.0)
    return generate(reader, *prompt, jax.random.key(0), new=new, sampling=greedy, ends=ends)


class SourceWriter:
    """Writes the likeliest text of each of many sources: the best that beams find, or token by
    token.

    Sources of about the same length are written together, with at most `tokens_at_once` tokens, so
    that few shapes have a program.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        new: int,
        beams: Beams | None,
        tokens_at_once: int,
        ends: Sequence[int] = (),
    ) -> None:
        """`new` are the tokens of a text at most, and `ends` those that end it, next to the
        tokenizer's."""
        require_positions(model.config, 1, new)
        self._model, self._tokenizer = model, tokenizer
        self._beams, self._at_once = beams, tokens_at_once
        self._settings = {
            "begin": tokenizer.begin.id,
            "new": new,
            "ends": (tokenizer.end.id, *(end for end in ends if end != tokenizer.end.id)),
        }

    def write(self, sources: Sequence[np.ndarray]) -> list[str]:
        """The text of each source, of which these are the tokens, the last of them the end."""
        texts = [""] * len(sources)
        longest = max(map(len, sources), default=1)
        require_positions(self._model.config, longest, 0)
        for numbers, rows, slots in self._parts(sources):
            own = [sources[number] for number in numbers]
            own += [own[-1]] * (rows - len(own))
            placed = placed_rows(self._tokenizer, own, slots)
            out = _likeliest(self._model, *placed, self._beams, **self._settings)
            tokens = multihost_utils.process_allgather(out, tiled=True)[: len(numbers)]
            written = self._tokenizer.decode_batch(self._cut(tokens))
            for number, text in zip(numbers, written, strict=True):
                texts[number] = text
        return texts

    def _parts(self, sources: Sequence[np.ndarray]) -> Iterator[tuple[list[int], int, int]]:
        """Numbers of sources that are written together, and the rows and slots these take."""
        by_slots: dict[int, list[int]] = {}
        for number, ids in enumerate(sources):
            by_slots.setdefault(rounded_slots([ids], FEWEST_SOURCE_SLOTS), []).append(number)
        shards = axis_size("batch")
        for slots, numbers in sorted(by_slots.items()):
            most = max(1, self._at_once // slots // shards) * shards
            rows = min(most, -(-len(numbers) // shards) * shards)
            for start in range(0, len(numbers), rows):
                yield numbers[start : start + rows], rows, slots

    def _cut(self, tokens: np.ndarray) -> list[np.ndarray]:
        """The tokens of each text before the first that ends it."""
        ended = np.isin(tokens, self._settings["ends"])
        lengths = np.where(ended.any(axis=1), ended.argmax(axis=1), tokens.shape[1])
        return [row[:length] for row, length in zip(tokens, lengths, strict=True)]
