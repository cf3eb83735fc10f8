"""Rows of tokens to predict the next: the targets are the window, the token before each its input.

As an input a boundary is the token that begins a document, as a target the one that ends it.
"""

from collections.abc import Callable, Mapping

import numpy as np

from data.batch import TokenRows
from data.cache import digest_of
from data.config import DataConfig, to_stderr
from data.rows.rows import Split
from data.rows.windows import Windows, open_stores
from data.stream import BOUNDARY, Store
from data.text import text_bytes
from data.tokenizer import Tokenizer


def open_windows(
    config: DataConfig, split: Split, report: Callable[[str], None] = to_stderr
) -> "TokenWindows":
    """The rows of a split; ValueError as from `open_stores`, or if they hold less than a row."""
    return TokenWindows(config, split, *open_stores(config, split, report))


class TokenWindows(Windows[TokenRows]):
    """Windows whose every token is predicted from those before it."""

    question = "next tokens"

    def __init__(
        self, config: DataConfig, split: Split, tokenizer: Tokenizer, stores: list[Store]
    ) -> None:
        super().__init__(config, split, tokenizer, stores)
        self._begin_rows = config.begin_rows
        if config.begin_rows:
            self.digest = digest_of(self.digest, "begin_rows")
        self._text_bytes: dict[int, int] = {}

    def batch(self, indices: np.ndarray) -> TokenRows:
        """The rows of these numbers in the order; held-out rows past the end have weight 0."""
        windows, there = self.windows(indices)
        begins = windows[:, :-1] == BOUNDARY
        if self._begin_rows:
            begins[:, 0] = True
        segments, positions = self.places(begins, there)
        weights = np.broadcast_to(there[:, None], begins.shape).astype(np.float32)
        return TokenRows(
            tokens=np.where(begins, self.tokenizer.begin.id, windows[:, :-1]),
            targets=np.where(windows[:, 1:] == BOUNDARY, self.tokenizer.end.id, windows[:, 1:]),
            positions=positions,
            segment_ids=segments,
            weights=weights,
        )

    def counts(self, indices: np.ndarray) -> Mapping[str, int]:
        """The bytes of text, by which `train.measures` finds the bits of each."""
        return {"text_bytes": self.text_bytes(indices)}

    def text_bytes(self, indices: np.ndarray) -> int:
        """Bytes of UTF-8 text that the targets of these rows stand for; ends of documents have
        none, nor has what the tokenizer lost, nor a held-out row past the end."""
        there = indices[self.present(indices)].tolist()
        for index in there:
            if index not in self._text_bytes:
                parts = self._parts(index)
                sizes = (text_bytes(self.tokenizer, before, ids) for before, ids in parts)
                self._text_bytes[index] = sum(sizes)
        return sum(self._text_bytes[index] for index in there)
