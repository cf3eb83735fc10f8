"""Rows of text of which spans are cut out, to be written (Raffel et al. 2020, section 3.1.4), as
T5's `random_spans_noise_mask` draws them.

What is cut out is drawn by the seed and the row's number in the order: each epoch draws anew, and
any process, batch size or resume draws alike.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from data.batch import SourceTargetRows
from data.cache import digest_of
from data.config import to_stderr
from data.errors import UserError
from data.rows.rows import Split
from data.rows.targets import require_places, written
from data.rows.windows import Windows, open_stores
from data.sentinels import sentinels_of
from data.spans_config import SpansConfig
from data.stream import BOUNDARY, Store
from data.tokenizer import Tokenizer


def open_spans(
    config: SpansConfig, split: Split, report: Callable[[str], None] = to_stderr
) -> "SpanWindows":
    """The rows of a split; ValueError as from `open_stores`, if they hold less than a row, or if
    there are fewer sentinels than spans."""
    tokenizer, stores = open_stores(config, split, report)
    sentinels, (_, spans) = sentinels_of(tokenizer), config.cut_out(config.window_length)
    if len(sentinels) < spans:
        raise UserError(
            f"data.sequence_length={config.sequence_length} must make at most {len(sentinels)} "
            f"spans of a row, because data.tokenizer={config.tokenizer!r} has so many sentinels, "
            f"but makes {spans}; try a shorter one, or a larger --data.span-length"
        )
    return SpanWindows(config, split, tokenizer, stores, sentinels)


class SpanWindows(Windows[SourceTargetRows]):
    """Windows of text without spans, and the spans; a row is one text, its documents joined."""

    question = "targets"

    def __init__(
        self,
        config: SpansConfig,
        split: Split,
        tokenizer: Tokenizer,
        stores: list[Store],
        sentinels: np.ndarray,
    ) -> None:
        super().__init__(config, split, tokenizer, stores)
        self._asked, self._sentinels = config, sentinels
        self._written = config.written_length
        self.digest = digest_of(
            self.digest, "spans", config.noise_share, config.span_length, sentinels.tolist()
        )

    @property
    def num_ids(self) -> int:
        """Ids of tokens are below this, the sentinels' too."""
        return max(int(self._sentinels.max()) + 1, super().num_ids)

    def check(self, model: Any) -> None:
        """Raise ValueError if a model of this config cannot be asked these rows."""
        super().check(model)
        field = f"data.sequence_length={self._asked.sequence_length}"
        require_places(model, self._written, f"{self._written} tokens of targets of {field}")

    def describe(self) -> list[str]:
        """Tokens and rows of an epoch, what is cut out of each, and the sentinels."""
        config, (noise, spans) = self._asked, self._asked.cut_out(self._length)
        first, last = self._sentinels[[0, spans - 1]]
        return [
            f"data: {self.num_tokens:,} tokens, {self.num_rows:,} rows of {self._length}, each "
            "epoch",
            f"{noise} of a row are cut out in {spans} spans: sources of {config.sequence_length}, "
            f"targets of {self._written}; sentinels are {first} to {last}",
            *super().describe()[1:],
        ]

    def batch(self, indices: np.ndarray) -> SourceTargetRows:
        """The rows of these numbers in the order; held-out rows past the end have weight 0."""
        windows, there = self.windows(indices)
        sides = []
        for length in (self._asked.sequence_length, self._written):
            shape = (len(indices), length)
            tokens = np.full(shape, self.tokenizer.end.id, np.int32)
            sides.append((tokens, np.zeros(shape, np.int32), np.zeros(shape, np.int32)))
        for row in np.flatnonzero(there):
            # A row is its targets: the token before them is the last of another.
            text = windows[row, 1:]
            parts = self.cut(text[text != BOUNDARY], int(indices[row]))
            for (tokens, positions, segments), ids in zip(sides, parts, strict=True):
                tokens[row, : len(ids)], segments[row, : len(ids)] = ids, 1
                positions[row, : len(ids)] = np.arange(len(ids))
        return written(*sides[0], *sides[1], begin=self.tokenizer.begin.id)

    def cut(self, text: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Source and target that the row of that number in the order makes of a text: what stays,
        a sentinel after each part of it, and the spans, each after its own."""
        noise, spans = self._asked.cut_out(len(text))
        draw = np.random.Generator(np.random.Philox(key=[self._asked.seed, index]))
        hidden, kept = (parted(n, spans, draw) for n in (noise, len(text) - noise))
        parts = np.split(text, np.stack([kept, hidden], 1).ravel().cumsum())
        source, target = [], []
        for number in range(spans):
            sentinel = self._sentinels[number : number + 1]
            source += [parts[2 * number], sentinel]
            target += [sentinel, parts[2 * number + 1]]
        end = np.array([self.tokenizer.end.id], np.int32)
        return np.concatenate([*source, parts[-1], end]), np.concatenate([*target, end])


def parted(items: int, parts: int, draw: np.random.Generator) -> np.ndarray:
    """Sizes of as many parts, none of them empty, of all ways to make these the same likely."""
    borders = 1 + np.sort(draw.permutation(max(items - 1, 0))[: max(parts - 1, 0)])
    return np.diff([0, *borders, items]) if parts else np.zeros(0, np.int64)
