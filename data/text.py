"""Ids to text where only a part of a sequence is wanted: its end, or its size in bytes.

A part decoded by itself loses what its neighbours decide: the space before its first word, and the
character whose bytes began in the token before.
"""

from collections.abc import Sequence
from itertools import chain, takewhile
from typing import NamedTuple

import numpy as np

from data.tokenizer import Ids, Tokenizer

INCOMPLETE = "\ufffd"
"""What decoders make of bytes that are no character, or not yet."""
CONTEXT = 16
"""Ids before a part that are decoded with it."""


class TextStream:
    """The text of a document as its ids come; the pieces join to the text of all ids.

    A character whose bytes are spread over several ids comes with the last of them.
    """

    def __init__(self, tokenizer: Tokenizer, before: Ids = ()) -> None:
        """`before` are the ids of the document that came already; their text is not given again."""
        self._tokenizer = tokenizer
        self._out = [[int(id) for id in before]]
        """Ids whose text is out, as far back as a decoder looks; each piece ends a character."""
        self._new: list[int] = []

    def add(self, ids: Ids) -> str:
        """The text that these ids complete."""
        self._new += [int(id) for id in ids]
        known, whole = self._known_and_whole()
        if whole.endswith(INCOMPLETE):
            return ""
        self._out.append(self._new)
        self._new = []
        while len(self._out) > 1 and self._suffice(self._out[1:]):
            del self._out[0]
        return _rest(known, whole)

    def close(self) -> str:
        """What is left: bytes that no later id can complete."""
        return _rest(*self._known_and_whole())

    def _known_and_whole(self) -> tuple[str, str]:
        known = list(chain.from_iterable(self._out))
        known_text, whole = self._tokenizer.decode_batch([known, known + self._new])
        return known_text, whole

    def _suffice(self, pieces: list[list[int]]) -> bool:
        """Whether these pieces are context enough: a decoder may drop blanks where it begins."""
        ids = list(chain.from_iterable(pieces))
        return len(ids) >= CONTEXT and bool(self._tokenizer.decode_batch([ids])[0].strip())


def _rest(known: str, whole: str) -> str:
    """What `whole` has after all that it shares with `known`, its beginning."""
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(known, whole, strict=False))
    return whole[sum(1 for _ in shared) :]


class TokenSizes(NamedTuple):
    """Bytes of UTF-8 text that each id stands for, int64 [V]."""

    first: np.ndarray
    """As the first of a document, where some decoders leave a space out."""
    inner: np.ndarray
    """After another."""


def token_sizes(tokenizer: Tokenizer) -> TokenSizes:
    """Bytes of every token, so that those of a document add up to its text.

    Special tokens and the unknown one have none. Where a decoder looks at neighbours (WordPiece),
    each token is measured after the letter a.
    """
    sizes = tokenizer.bytes_of_tokens()
    first, inner = sizes.copy(), sizes.copy()
    ask = np.flatnonzero(sizes < 0)
    if ask.size:
        first[ask] = _bytes(tokenizer, ask[:, None])
        letter = np.append(ask[first[ask].argmax()], tokenizer.encode_batch(["a"])[0])[-1:]
        after = np.concatenate([np.broadcast_to(letter, (len(ask), 1)), ask[:, None]], axis=1)
        inner[ask] = np.maximum(_bytes(tokenizer, after) - _bytes(tokenizer, letter[None])[0], 0)
    # What a tokenizer puts before a text of its own accord, and gives back, is none of the text.
    letters = tokenizer.encode_batch(["a"])
    own = max(int(_bytes(tokenizer, letters)[0]) - 1, 0)
    return TokenSizes(np.maximum(first - own, 0), inner)


def _bytes(tokenizer: Tokenizer, sequences: Sequence[Ids] | np.ndarray) -> np.ndarray:
    texts = tokenizer.decode_batch(list(sequences))
    return np.array([len(text.encode(errors="surrogatepass")) for text in texts], np.int64)
