"""Ids to text where only a part of a sequence is wanted: its end, or its size in bytes.

A part decoded by itself loses what its neighbours decide: the space before its first word, and the
character whose bytes began in the token before.
"""

from itertools import chain, takewhile

from data.tokenizer import Ids, Tokenizer

INCOMPLETE = "\ufffd"
"""What decoders make of bytes that are no character, or not yet."""
CONTEXT = 32
"""Ids before a part that are decoded with it."""
BYTES_OF_A_CHARACTER = 4


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


def text_bytes(tokenizer: Tokenizer, before: Ids, ids: Ids) -> int:
    """Bytes of UTF-8 text that `ids` add to that of `before`, the ids of the document next before
    them, of which CONTEXT or so suffice. A character counts where its last byte comes, so that
    parts of a document add up to the whole."""
    known = _from_a_character(tokenizer, [int(id) for id in before])
    whole = _to_a_character(tokenizer, [*known, *(int(id) for id in ids)])
    return len(whole.encode()) - len(_to_a_character(tokenizer, known).encode())


def _from_a_character(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """Ids without those at their beginning that are the end of a character."""
    for start in range(min(BYTES_OF_A_CHARACTER, len(ids))):
        if not _to_a_character(tokenizer, ids[start:]).startswith(INCOMPLETE):
            return ids[start:]
    return ids


def _to_a_character(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The text of ids without those at their end that are the beginning of a character."""
    whole = tokenizer.decode_batch([ids])[0]
    text, cut = whole, len(ids)
    while text.endswith(INCOMPLETE) and cut > max(len(ids) - BYTES_OF_A_CHARACTER, 0):
        cut -= 1
        text = tokenizer.decode_batch([ids[:cut]])[0]
    return whole if text.endswith(INCOMPLETE) else text
