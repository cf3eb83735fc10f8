"""Writing on from prompts: tokens come in parts, and text as soon as it is certain."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from data.stops import StoppedText
from data.text import TextStream
from data.tokenizer import Ids, Tokenizer
from model.beams import Beams, beam_search
from model.generate import begin, require_positions, write
from model.sampling import Sampling
from model.sharding import axis_size, spec

AT_ONCE = 32
"""Tokens between two looks at what was written, where nobody waits for them."""
FEW = 8
"""Where somebody does, but each look costs weights that are gathered from other devices."""
FEWEST_PROMPT_SLOTS = 64
"""That a prompt takes where prompts of many lengths come."""

_begin = jax.jit(begin, static_argnames=("new", "sampling"))
_write = jax.jit(write, static_argnames=("most", "sampling", "ends"), donate_argnames=("draft",))
_search = jax.jit(beam_search, static_argnames=("new", "ends"))


class Continuation(NamedTuple):
    """What was written on from a prompt."""

    text: str
    tokens: int
    """That were drawn for it, with the one that ended it."""
    ended: Literal["end", "stop", "length"]
    """By which it ended: a token that ends texts, a stop string, or the number of tokens."""


class Written(NamedTuple):
    """Continuations of several prompts, and how long they took."""

    continuations: list[Continuation]
    seconds: float
    """Of writing: after the programs were compiled and the prompts read."""
    apart: bool = False
    """Whether texts are written of their prompts, and do not go on from them."""

    @property
    def speed(self) -> str:
        tokens = sum(each.tokens for each in self.continuations)
        rate = tokens / max(self.seconds, 1e-9)
        return f"{tokens:,} tokens in {self.seconds:.1f} s: {rate:,.1f} tokens/s"


class TextGenerator:
    """Writes at most `new` tokens on from prompts, drawn or the best that beams find, on the
    current mesh, the same on every process.

    A text ends before a token of `ends` and before a string of `stops`; tokens that are `hidden`
    stand for no text. One program serves all prompts whose slots are as many.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        new: int,
        sampling: Sampling | Beams,
        ends: Sequence[int] = (),
        stops: Sequence[str] = (),
        hidden: frozenset[int] = frozenset(),
    ) -> None:
        StoppedText(stops)
        self._model, self._tokenizer, self._sampling = model, tokenizer, sampling
        self._new, self._stops, self._hidden = new, tuple(stops), hidden
        self._ends = (tokenizer.end.id, *(end for end in ends if end != tokenizer.end.id))

    def write(
        self,
        prompts: Sequence[Ids],
        key: jax.Array,
        *,
        before: Sequence[Ids] | None = None,
        limit: int | None = None,
        rounded: bool = False,
        on_text: Callable[[str], None] | None = None,
    ) -> Written:
        """Write on from each prompt, `limit` tokens at most.

        Texts join to those of `before`, by default the prompts themselves. Prompts take slots
        `rounded` to a power of two. The pieces of the first
        text go to `on_text` as they are written. Raises ValueError when the model's positions end.
        """
        left = self._new if limit is None else limit
        require_positions(self._model.config, max(map(len, prompts)), left)
        texts = [
            _Text(self._tokenizer, ids, self._stops, self._ends, self._hidden)
            for ids in (prompts if before is None else before)
        ]
        slots = rounded_slots(prompts, FEWEST_PROMPT_SLOTS) if rounded else None
        placed = placed_rows(self._tokenizer, prompts, slots)
        if isinstance(self._sampling, Beams):
            parts = self._best(placed, left, self._sampling)
        else:
            parts = self._drawn(placed, key, left, self._sampling, streams=on_text is not None)
        next(parts)
        began = time.perf_counter()
        for rows in parts:
            for number, (text, row) in enumerate(zip(texts, rows, strict=False)):
                piece = text.add(row)
                if on_text is not None and number == 0 and piece:
                    on_text(piece)
            if all(text.ended for text in texts):
                break
        seconds = time.perf_counter() - began
        rest = [text.close() for text in texts]
        if on_text is not None and rest[0]:
            on_text(rest[0])
        return Written([text.continuation() for text in texts], seconds)

    def _drawn(
        self,
        placed: Sequence[jax.Array],
        key: jax.Array,
        left: int,
        sampling: Sampling,
        *,
        streams: bool,
    ) -> Iterator[np.ndarray]:
        """Nothing once the prompts are read, and then the next of `left` tokens of all rows."""
        settings = {"sampling": sampling, "ends": self._ends, "most": AT_ONCE}
        draft = _begin(self._model, *placed, new=self._new, sampling=sampling)
        _, draft = _write(self._model, draft, key, np.int32(0), **settings)
        jax.block_until_ready(draft.written)
        yield np.zeros((0, 0), np.int32)
        look = 1 if axis_size("embed") == 1 else FEW
        look = look if streams else AT_ONCE
        while left:
            count = min(left, look)
            out, draft = _write(self._model, draft, key, np.int32(count), **settings)
            left -= count
            yield multihost_utils.process_allgather(out, tiled=True)[:, :count]

    def _best(self, placed: Sequence[jax.Array], left: int, beams: Beams) -> Iterator[np.ndarray]:
        """Nothing once the program is compiled, and then all tokens of the best of each row."""
        settings = {"new": left, "ends": self._ends}
        search = _search.lower(self._model, *placed, beams=beams, **settings).compile()
        yield np.zeros((0, 0), np.int32)
        out, _ = search(self._model, *placed, beams=beams)
        yield multihost_utils.process_allgather(out, tiled=True)


def rounded_slots(prompts: Sequence[Ids], fewest: int) -> int:
    """Slots of the longest prompt, rounded up to a power of two, so that few lengths have a
    program."""
    return max(fewest, 1 << (max(map(len, prompts)) - 1).bit_length())


def placed_rows(
    tokenizer: Tokenizer, prompts: Sequence[Ids], slots: int | None = None
) -> list[jax.Array]:
    """Tokens [B, P] on the mesh, padded on the left to so many slots, by default those of the
    longest, and which of them are real."""
    B = -(-len(prompts) // axis_size("batch")) * axis_size("batch")
    P = slots or max(map(len, prompts))
    tokens = np.full((B, P), tokenizer.end.id, np.int32)
    real = np.zeros((B, P), bool)
    real[:, -1] = True
    for row, ids in enumerate(prompts):
        tokens[row, P - len(ids) :] = ids
        real[row, P - len(ids) :] = True
    sharding = NamedSharding(jax.sharding.get_mesh(), spec("batch", None))
    return [
        jax.make_array_from_callback(array.shape, sharding, array.__getitem__)
        for array in (tokens, real)
    ]


class _Text:
    """One continuation, as its tokens come."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        before: Ids,
        stops: Sequence[str],
        ends: Sequence[int],
        hidden: frozenset[int],
    ) -> None:
        self._stream, self._cut = TextStream(tokenizer, before), StoppedText(stops)
        # The tokens of a stop string are counted, so that each is looked at by itself.
        self._part = 1 if stops else AT_ONCE
        self._ends, self._hidden = ends, hidden
        self._pieces: list[str] = []
        self._tokens = 0
        self.ended: Literal["end", "stop"] | None = None

    def add(self, row: np.ndarray) -> str:
        """The text that is certain by these tokens."""
        first = len(self._pieces)
        for start in range(0, len(row), self._part):
            if self.ended:
                break
            part = row[start : start + self._part]
            ends = np.flatnonzero(np.isin(part, self._ends))
            ids = part[: ends[0]] if len(ends) else part
            self._tokens += len(ids) + bool(len(ends))
            shown = [id for id in ids if int(id) not in self._hidden]
            self._pieces.append(self._cut.add(self._stream.add(shown)))
            self.ended = "stop" if self._cut.stopped else "end" if len(ends) else None
        return "".join(self._pieces[first:])

    def close(self) -> str:
        """The rest of the text, as no more tokens come."""
        rest = self._cut.add(self._stream.close()) + self._cut.close()
        self._pieces.append(rest)
        if self._cut.stopped:
            self.ended = "stop"
        return rest

    def continuation(self) -> Continuation:
        return Continuation("".join(self._pieces), self._tokens, self.ended or "length")
