"""Rows whose tokens are hidden here and there, to be predicted from both sides (Devlin et al.
2018).

Which tokens are hidden, and how, is drawn by the seed and the row's number in the order: each epoch
draws anew, and any process, batch size or resume draws alike.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data.batch import MaskedRows
from data.cache import digest_of
from data.config import MaskedConfig, to_stderr
from data.errors import UserError
from data.rows.rows import Split
from data.rows.windows import Windows, open_stores
from data.stream import BOUNDARY, Store
from data.tokenizer import Tokenizer

HIDDEN, RANDOM = 0.8, 0.1
"""Shares of the chosen tokens that become the mask, and another token; the rest stay."""


def open_masked(
    config: MaskedConfig, split: Split, report: Callable[[str], None] = to_stderr
) -> "MaskedWindows":
    """The rows of a split; ValueError as from `open_stores`, if they hold less than a row, or if
    the tokenizer has no token that hides others."""
    tokenizer, stores = open_stores(config, split, report)
    if tokenizer.mask is None:
        raise UserError(
            f"data.tokenizer={config.tokenizer!r} must have a special token [MASK] or <mask>, "
            "because it hides the tokens that are predicted; try `meshloom data tokenizer "
            "--mask-token`, which makes one with it"
        )
    return MaskedWindows(config, split, tokenizer, stores, tokenizer.mask)


class Hidden(NamedTuple):
    """What is hidden of a row, K places at most."""

    places: np.ndarray
    shown: np.ndarray
    """Ids that stand there instead."""


class MaskedWindows(Windows[MaskedRows]):
    """Windows of which `data.masked_share` of the tokens are predicted: those and no others."""

    question = "masked tokens"

    def __init__(
        self,
        config: MaskedConfig,
        split: Split,
        tokenizer: Tokenizer,
        stores: list[Store],
        mask: int,
    ) -> None:
        super().__init__(config, split, tokenizer, stores)
        self._mask, self._seed = mask, config.seed
        self._most = config.masked_places
        self._continues = tokenizer.continues_word() if config.whole_words else None
        ordinary = np.ones(tokenizer.vocab_size, bool)
        ordinary[[i for i in tokenizer.special if i < len(ordinary)]] = False
        self._ordinary = np.flatnonzero(ordinary)
        self.digest = digest_of(
            self.digest, "masked", config.masked_share, config.whole_words, HIDDEN, RANDOM
        )

    @property
    def num_ids(self) -> int:
        """Ids of tokens are below this, the mask's too."""
        return max(self._mask + 1, super().num_ids)

    def batch(self, indices: np.ndarray) -> MaskedRows:
        """The rows of these numbers in the order; held-out rows past the end have weight 0."""
        windows, there = self.windows(indices)
        begins = windows[:, :-1] == BOUNDARY
        segments, positions = self.places(begins, there)
        tokens = np.where(begins, self.tokenizer.begin.id, windows[:, :-1])
        shape = (len(indices), self._most)
        targets, places = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        weights = np.zeros(shape, np.float32)
        for row in np.flatnonzero(there):
            hidden = self.hide(tokens[row], begins[row], int(indices[row]))
            count = len(hidden.places)
            places[row, :count], weights[row, :count] = hidden.places, 1
            targets[row, :count] = tokens[row, hidden.places]
            tokens[row, hidden.places] = hidden.shown
        return MaskedRows(tokens, targets, places, positions, segments, weights)

    def hide(self, tokens: np.ndarray, begins: np.ndarray, index: int) -> Hidden:
        """What is hidden of the tokens of a row of the order, none that begins a document."""
        draw = np.random.Generator(np.random.Philox(key=[self._seed, index]))
        if self._continues is None:
            places = draw.permutation(np.flatnonzero(~begins))[: self._most]
        else:
            places = self._whole_words(tokens, begins, draw)
        places = np.sort(places)
        how = draw.random(len(places))
        others = draw.choice(self._ordinary, len(places))
        shown = np.where(how < HIDDEN, self._mask, tokens[places])
        return Hidden(places, np.where(how >= 1 - RANDOM, others, shown))

    def _whole_words(
        self, tokens: np.ndarray, begins: np.ndarray, draw: np.random.Generator
    ) -> np.ndarray:
        """Places of words drawn whole, for as long as there is room; none begins a document."""
        assert self._continues is not None
        # A mask or a token that begins a document has an id beyond the vocabulary at most.
        inside = self._continues[np.minimum(tokens, len(self._continues) - 1)]
        starts = np.flatnonzero(
            ~inside | begins | np.roll(begins, 1) | (np.arange(len(tokens)) == 0)
        )
        words = [w for w in np.split(np.arange(len(tokens)), starts[1:]) if not begins[w[0]]]
        chosen: list[np.ndarray] = []
        room = self._most
        for number in draw.permutation(len(words)):
            if len(words[number]) <= room:
                chosen.append(words[number])
                room -= len(words[number])
        return np.concatenate(chosen) if chosen else np.zeros(0, np.int64)


def masked_shapes(config: MaskedConfig, batch_size: int) -> MaskedRows:
    """A batch of that size in shapes and types alone."""
    shape, asked = (batch_size, config.sequence_length), (batch_size, config.masked_places)
    ids, hidden = (np.broadcast_to(np.int32(0), each) for each in (shape, asked))
    places = ids if config.packing else None
    return MaskedRows(ids, hidden, hidden, places, places, np.broadcast_to(np.float32(0), asked))
