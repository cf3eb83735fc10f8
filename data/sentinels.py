"""Sentinels, which stand for the spans that are cut out of a text (Raffel et al. 2020, section
3.1.4): their ids, and a tokenizer by which texts have them."""

import re
from collections.abc import Sequence

import numpy as np

from data.tokenizer import Ids, Placed, Tokenizer

SENTINELS = 100
"""Of a tokenizer that has none, as many as T5's."""
NAME = re.compile(r"<extra_id_(\d+)>")


def sentinels_of(tokenizer: Tokenizer) -> np.ndarray:
    """Ids of what stands for the first, second, ... span: the special tokens <extra_id_0>,
    <extra_id_1>, ...; where there are none, `SENTINELS` ids after the tokenizer's, the last first,
    which is how T5 adds them to its SentencePiece model."""
    named: list[int] = []
    while True:
        ids = tokenizer.encode_marked(f"<extra_id_{len(named)}>").tolist()
        special = [id for id in ids if id in tokenizer.special]
        if not special:
            break
        named += special[-1:]
    return np.array(named or tokenizer.vocab_size + np.arange(SENTINELS)[::-1], np.int32)


class SentinelTokenizer:
    """A `Tokenizer` by which `<extra_id_n>` in a text is a sentinel, and the other way round."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._plain, self._ids = tokenizer, sentinels_of(tokenizer)
        self._numbers = {int(id): number for number, id in enumerate(self._ids)}
        self.vocab_size = max(tokenizer.vocab_size, int(self._ids.max()) + 1)
        self.begin, self.end = tokenizer.begin, tokenizer.end
        self.unknown, self.mask = tokenizer.unknown, tokenizer.mask
        self.special = tokenizer.special | self._numbers.keys()
        self.digest, self.notes = tokenizer.digest, tokenizer.notes

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        return [self.encode_marked(text) for text in texts]

    def encode_marked(self, text: str) -> np.ndarray:
        """Ids of a text; a number that has no sentinel is plain text."""
        parts, start = [], 0
        for match in NAME.finditer(text):
            if (number := int(match[1])) < len(self._ids):
                parts += [*self._encoded(text[start : match.start()]), self._ids[[number]]]
                start = match.end()
        return np.concatenate([np.zeros(0, np.int32), *parts, *self._encoded(text[start:])])

    def place_batch(self, texts: list[str]) -> list[Placed]:
        return self._plain.place_batch(texts)

    def decode_batch(self, sequences: Sequence[Ids]) -> list[str]:
        return ["".join(self._decoded(np.asarray(ids, np.int64))) for ids in sequences]

    def continues_word(self) -> np.ndarray:
        return self._plain.continues_word()

    def _encoded(self, text: str) -> list[np.ndarray]:
        return self._plain.encode_batch([text]) if text else []

    def _decoded(self, ids: np.ndarray) -> list[str]:
        """Sentinels by their names and what stands between them."""
        places = np.flatnonzero(np.isin(ids, self._ids))
        between = self._plain.decode_batch(np.split(ids, places)[:1])
        for place, part in zip(places, np.split(ids, places)[1:], strict=True):
            between += [f"<extra_id_{self._numbers[int(ids[place])]}>"]
            between += self._plain.decode_batch([part[1:]])
        return between
