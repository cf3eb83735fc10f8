"""Windows over joined documents in a reproducible order: the seed and a row's number say all of it.

A row is T neighbouring tokens of the joined documents of a source and the token before them.
Between documents lies a boundary, and another before the first.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np

from data.batch import Kind
from data.cache import digest_of
from data.config import TextConfig, to_stderr
from data.corpus import open_corpus
from data.errors import UserError
from data.order import MOST_EXAMPLES, ORDER, Order
from data.round_trip import left_out
from data.rows.rows import Rows, Split
from data.store import open_store
from data.stream import BOUNDARY, Store
from data.text import CONTEXT, TextStream
from data.tokenizer import Tokenizer, documents, identity


def open_stores(
    config: TextConfig, split: Split, report: Callable[[str], None] = to_stderr
) -> tuple[Tokenizer, list[Store]]:
    """The tokenizer and the tokens of each source; what the cache lacks is tokenized first, and
    `report` is given lines about that.

    ValueError if a source, the tokenizer or the store cannot be read.
    """
    tokenizer = config.load_tokenizer()
    if split == "train":
        for note in tokenizer.notes:
            report(note)
    stores = []
    for spec in config.sources:
        corpus = open_corpus(spec, config, report)
        stores.append(open_store(corpus, tokenizer, config, report))
        for line in left_out(stores[-1].text) if split == "train" else ():
            report(f"{spec}: {line}")
        if split == "train" and not stores[-1].text and config.tokenizer != "bytes":
            report(
                f"{spec}: what its tokenizer lost is not known, as these tokens are older than the "
                f"count; remove {stores[-1].folder} to have them made again"
            )
    return tokenizer, stores


class Windows(Rows[Kind]):
    """Fixed-length windows over the joined documents of each source, in the order of training.

    num_tokens, num_documents, num_bytes: of the split, bytes being UTF-8 text.
    """

    def __init__(
        self, config: TextConfig, split: Split, tokenizer: Tokenizer, stores: list[Store]
    ) -> None:
        self._tokenizer = tokenizer
        self._config, self._length = config, config.window_length
        self._streams = [store.splits[split] for store in stores]
        self._counts = [stream.num_tokens // self._length for stream in self._streams]
        self._ends = list(accumulate(self._counts))
        self.num_tokens = sum(stream.num_tokens for stream in self._streams)
        self.num_documents = sum(stream.num_documents for stream in self._streams)
        self.num_bytes = sum(stream.num_bytes for stream in self._streams)
        digest = digest_of(
            ORDER,
            *(store.digest for store in stores),
            tokenizer.begin.id,
            tokenizer.end.id,
            config.weights,
            config.sequence_length,
            config.packing,
            config.seed,
        )
        weights = config.weights if split == "train" else ()
        super().__init__(split, Order(self._counts, seed=config.seed, weights=weights), digest)
        self._refuse_too_few()

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the config."""
        return self._tokenizer

    def places(
        self, begins: np.ndarray, there: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Segments and positions of rows where documents begin so, [n, T]; None without packing.
        Rows that are not `there` are padding."""
        if not self._config.packing:
            return None, None
        segments, positions = _places(begins)
        return segments * there[:, None], positions

    def windows(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of these rows of the order, each after the one before it, [n, 1 + T], and
        which of the rows there are."""
        windows = np.zeros((len(indices), self._length + 1), np.int32)
        there = self.present(indices)
        windows[there] = self._windows(self.examples(indices[there]))
        return windows, there

    def describe(self) -> list[str]:
        """Tokens and rows of an epoch, and what documents begin and end with."""
        length = self._length
        return [
            f"data: {self.num_tokens:,} tokens, {self.num_rows:,} rows of {length}, each epoch",
            documents(self.tokenizer),
        ]

    def meta(self) -> dict[str, Any]:
        """What a checkpoint keeps of them: their digest, and that of the tokenizer."""
        return {**super().meta(), "tokenizer_digest": identity(self.tokenizer)}

    def check(self, model: Any) -> None:
        """Raise ValueError if a model of this config cannot be asked these rows, or the tokenizer
        makes ids that it does not know."""
        super().check(model)
        require_ids(model, self.num_ids, self._config.tokenizer)

    @property
    def num_ids(self) -> int:
        """Ids of tokens are below this."""
        return self.tokenizer.vocab_size

    def text(self, index: int) -> list[str]:
        """The text of a row's targets, document by document."""
        streams = [(TextStream(self.tokenizer, before), ids) for before, ids in self._parts(index)]
        return [stream.add(ids) + stream.close() for stream, ids in streams]

    def _parts(self, index: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """A row's targets document by document, each with the ids of its document before them."""
        source, window = self._place(index)
        stream, length = self._streams[source], self._length
        out = np.empty((1, length + 1), np.int32)
        stream.windows(np.array([window * length]), out)
        parts = np.split(out[0, 1:], np.flatnonzero(out[0, 1:] == BOUNDARY) + 1)
        parts = [part[part != BOUNDARY] for part in parts if len(part)]
        before = [stream.before(window * length, CONTEXT), *[parts[0][:0]] * len(parts[1:])]
        return list(zip(before, parts, strict=True))

    def origin(self, index: int) -> str:
        """Source file and place of the document that a row begins in."""
        source, window = self._place(index)
        return self._streams[source].origin(window * self._length)

    def _place(self, index: int) -> tuple[int, int]:
        """Source of a row, and which of its windows the row is."""
        row = int(self.examples(np.array([index]))[0])
        source = int(np.searchsorted(self._ends, row, side="right"))
        return source, row - self._ends[source] + self._counts[source]

    def _windows(self, rows: np.ndarray) -> np.ndarray:
        length = self._length
        sources = np.searchsorted(self._ends, rows, side="right")
        windows = np.empty((len(rows), length + 1), np.int32)
        for source, stream in enumerate(self._streams):
            mine = sources == source
            first = self._ends[source] - self._counts[source]
            part = np.empty((int(mine.sum()), length + 1), np.int32)
            stream.windows((rows[mine] - first) * length, part)
            windows[mine] = part
        return windows

    def _refuse_too_few(self) -> None:
        length = self._length
        if self._split == "held_out" and self.num_rows == 0:
            raise UserError(
                f"data.held_out={self._config.held_out} must keep at least {length:,} tokens of "
                "one source for evaluation, because a row has so many, but it "
                f"keeps {self.num_tokens:,} in {self.num_documents:,} "
                f"document{'s' * (self.num_documents != 1)}; try a larger share, a shorter "
                "--data.sequence-length, smaller documents (a file of text is one), or "
                "--train.eval-batches 0"
            )
        if self._split == "held_out":
            return
        own = self._config.sequence_length
        asked = f"data.sequence_length={own}"
        asked += f", made of {length} tokens of text," if own != length else ""
        sources = zip(self._config.sources, self._counts, self._streams, strict=True)
        for spec, count, stream in sources:
            if stream.num_tokens == 0:
                raise UserError(
                    f"data.held_out={self._config.held_out} must leave documents of {spec!r} to "
                    "train on, because rows are cut from them, but all are held out; try "
                    "--data.held-out 0, or more documents"
                )
            if count == 0:
                raise UserError(
                    f"{asked} must be at most {stream.num_tokens:,}, because "
                    f"{spec!r} has so many tokens to train on and makes no row of more; try a "
                    "shorter one or more text"
                )
        if self.num_rows > MOST_EXAMPLES:
            raise UserError(
                f"{asked} must make at most {MOST_EXAMPLES:,} rows, because "
                f"they are numbered by 32 bits, but {self.num_tokens:,} tokens make "
                f"{self.num_rows:,}; try --data.sequence-length "
                f"{self.num_tokens // MOST_EXAMPLES + 1} or more"
            )


def require_ids(model: Any, count: int, tokenizer: str) -> None:
    """Raise ValueError if a model of this config has no rows for so many ids of tokens."""
    if model.vocabulary is not None and count > model.vocabulary:
        raise UserError(
            f"model.vocab_size={model.vocabulary} must be at least {count}, because "
            f"data.tokenizer={tokenizer} makes that many ids; try --model.vocab-size {count}"
        )


def _places(begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segments, counted from 1, and positions within each, where documents begin so, [n, T]."""
    steps = np.arange(begins.shape[1], dtype=np.int32)
    # What a row is cut inside of is its first segment.
    segments = np.cumsum(begins, axis=1, dtype=np.int32) + ~begins[:, :1]
    return segments, steps - np.maximum.accumulate(np.where(begins, steps, 0), axis=1)
