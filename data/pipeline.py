"""Rows of tokens in a reproducible order: the seed and a row's number say all of it.

A row is T neighbouring tokens of the joined documents of a source, as targets; the token before
each is its input. Between documents lies a boundary, and another before the first: as an input it
is the token that begins a document, as a target the one that ends it.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from data.batch import Batch
from data.cache import digest_of
from data.config import DataConfig
from data.corpus import open_corpus
from data.round_trip import left_out
from data.skipped import rows_at
from data.store import open_store
from data.stream import BOUNDARY, Store
from data.text import CONTEXT, TextStream, text_bytes
from data.tokenizer import Tokenizer, tokenizer_of

if TYPE_CHECKING:
    import grain

Split = Literal["train", "held_out"]
# Counts changes of what a row number means.
ORDER = 2
# Grain permutes numbers of 32 bits.
MOST_ROWS = 2**32


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def open_rows(
    config: DataConfig, split: Split, *, report: Callable[[str], None] = _to_stderr
) -> "Rows":
    """The rows of a split; what the cache lacks is tokenized first, and `report` told about it.

    ValueError if a source, the tokenizer or the store cannot be read, or holds less than a row.
    """
    tokenizer = tokenizer_of(config)
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
    return Rows(config, split, tokenizer, stores)


class Rows:
    """Fixed-length windows over the joined documents of each source, in the order of training.

    digest: what decides the rows and their order. num_rows: rows in one epoch. num_tokens,
    num_documents, num_bytes: of the split, bytes being UTF-8 text.
    """

    def __init__(
        self, config: DataConfig, split: Split, tokenizer: Tokenizer, stores: list[Store]
    ) -> None:
        self.tokenizer = tokenizer
        self._config = config
        self._split = split
        self._streams = [store.splits[split] for store in stores]
        self._counts = [stream.num_tokens // config.sequence_length for stream in self._streams]
        self._ends = np.cumsum(self._counts)
        self._text_bytes: dict[int, int] = {}
        self.num_rows = int(self._ends[-1])
        self.num_tokens = sum(stream.num_tokens for stream in self._streams)
        self.num_documents = sum(stream.num_documents for stream in self._streams)
        self.num_bytes = sum(stream.num_bytes for stream in self._streams)
        self.digest = digest_of(
            ORDER,
            *(store.digest for store in stores),
            tokenizer.begin.id,
            tokenizer.end.id,
            config.weights,
            config.sequence_length,
            config.packing,
            config.seed,
        )
        self._refuse_too_few()

    def batches(
        self,
        start: int,
        batch_size: int,
        local_rows: np.ndarray,
        skipped: Sequence[Sequence[int]] = (),
    ) -> Iterator[Batch]:
        """Batch b holds this process's rows of the order: start + b * batch_size + local_rows.

        The ranges of rows `skipped` (first, first after) are as if they were not in the order.
        Training rows never end: each epoch has its own order. Held-out rows come once, in
        one shuffled order; the last batch is filled with rows of weight 0.
        """
        while self._split == "train" or start < self.num_rows:
            yield self.batch(rows_at(start + local_rows, skipped))
            start += batch_size

    def batch(self, indices: np.ndarray) -> Batch:
        """The rows of these numbers in the order; held-out rows past the end have weight 0."""
        length = self._config.sequence_length
        windows = np.zeros((len(indices), length + 1), np.int32)
        there = np.ones(len(indices), bool)
        if self._split == "held_out":
            there = np.asarray(indices) < self.num_rows
        ids = self.row_ids(indices[there])
        windows[there] = self._windows(ids)
        begins = windows[:, :-1] == BOUNDARY
        segments, positions = _places(begins if self._config.packing else begins & False)
        weights = np.broadcast_to(there[:, None], begins.shape).astype(np.float32)
        return Batch(
            tokens=np.where(begins, self.tokenizer.begin.id, windows[:, :-1]),
            targets=np.where(windows[:, 1:] == BOUNDARY, self.tokenizer.end.id, windows[:, 1:]),
            positions=positions,
            segment_ids=segments * there[:, None],
            weights=weights,
        )

    def text_bytes(self, indices: np.ndarray) -> int:
        """Bytes of UTF-8 text that the targets of these rows stand for; ends of documents have
        none, nor has what the tokenizer lost, nor a held-out row past the end."""
        there = [i for i in indices.tolist() if self._split == "train" or i < self.num_rows]
        for index in there:
            if index not in self._text_bytes:
                parts = self._parts(index)
                sizes = (text_bytes(self.tokenizer, before, ids) for before, ids in parts)
                self._text_bytes[index] = sum(sizes)
        return sum(self._text_bytes[index] for index in there)

    def text(self, index: int) -> list[str]:
        """The text of a row's targets, document by document."""
        streams = [(TextStream(self.tokenizer, before), ids) for before, ids in self._parts(index)]
        return [stream.add(ids) + stream.close() for stream, ids in streams]

    def _parts(self, index: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """A row's targets document by document, each with the ids of its document before them."""
        source, window = self._place(index)
        stream, length = self._streams[source], self._config.sequence_length
        out = np.empty((1, length + 1), np.int32)
        stream.windows(np.array([window * length]), out)
        parts = np.split(out[0, 1:], np.flatnonzero(out[0, 1:] == BOUNDARY) + 1)
        parts = [part[part != BOUNDARY] for part in parts if len(part)]
        before = [stream.before(window * length, CONTEXT), *[parts[0][:0]] * len(parts[1:])]
        return list(zip(before, parts, strict=True))

    def row_ids(self, indices: np.ndarray) -> np.ndarray:
        """Which window each row of the order is, 0 .. num_rows - 1 through the sources."""
        order = self._order
        return np.array([order[i] for i in indices.tolist()], np.int64)

    def origin(self, index: int) -> str:
        """Source file and place of the document that a row begins in."""
        source, window = self._place(index)
        return self._streams[source].origin(window * self._config.sequence_length)

    def _place(self, index: int) -> tuple[int, int]:
        """Source of a row, and which of its windows the row is."""
        row = int(self.row_ids(np.array([index]))[0])
        source = int(np.searchsorted(self._ends, row, side="right"))
        return source, row - int(self._ends[source]) + self._counts[source]

    @cached_property
    def _order(self) -> "grain.MapDataset[int]":
        """Numbers of rows to numbers of windows, by Grain.

        With weights, each source is shuffled and repeated, with a new seed each epoch, and only
        then mixed. Without, and held out, the windows of all sources are shuffled and repeated
        as one, so that a few batches measure all sources.
        """
        # Grain takes a second to import, and brings jax with it: not before the first batch.
        import grain

        def endless(number: int, start: int, stop: int) -> "grain.MapDataset[int]":
            # Grain adds the epoch to the seed, so that near seeds would share their epochs.
            seed = int(digest_of(self._config.seed, number)[:8], 16)
            return grain.MapDataset.range(start, stop).shuffle(seed).repeat()

        if self._split == "held_out" or not self._config.weights:
            return endless(0, 0, self.num_rows)
        bounds = [0, *self._ends.tolist()]
        sources = [endless(i, *ends) for i, ends in enumerate(pairwise(bounds))]
        return grain.MapDataset.mix(sources, self._config.weights)

    def _windows(self, rows: np.ndarray) -> np.ndarray:
        length = self._config.sequence_length
        sources = np.searchsorted(self._ends, rows, side="right")
        windows = np.empty((len(rows), length + 1), np.int32)
        for source, stream in enumerate(self._streams):
            mine = sources == source
            first = int(self._ends[source]) - self._counts[source]
            part = np.empty((int(mine.sum()), length + 1), np.int32)
            stream.windows((rows[mine] - first) * length, part)
            windows[mine] = part
        return windows

    def _refuse_too_few(self) -> None:
        length = self._config.sequence_length
        if self._split == "held_out" and self.num_rows == 0:
            raise ValueError(
                f"data.held_out={self._config.held_out} must keep at least {length:,} tokens of "
                "one source for evaluation, because a row has so many, but it "
                f"keeps {self.num_tokens:,} in {self.num_documents:,} "
                f"document{'s' * (self.num_documents != 1)}; try a larger share, a shorter "
                "--data.sequence-length, smaller documents (a file of text is one), or "
                "--train.eval-batches 0"
            )
        if self._split == "held_out":
            return
        sources = zip(self._config.sources, self._counts, self._streams, strict=True)
        for spec, count, stream in sources:
            if stream.num_tokens == 0:
                raise ValueError(
                    f"data.held_out={self._config.held_out} must leave documents of {spec!r} to "
                    "train on, because rows are cut from them, but all are held out; try "
                    "--data.held-out 0, or more documents"
                )
            if count == 0:
                raise ValueError(
                    f"data.sequence_length={length} must be at most {stream.num_tokens:,}, because "
                    f"{spec!r} has so many tokens to train on and makes no row of more; try a "
                    "shorter one or more text"
                )
        if self.num_rows > MOST_ROWS:
            raise ValueError(
                f"data.sequence_length={length} must make at most {MOST_ROWS:,} rows, because they "
                f"are numbered by 32 bits, but {self.num_tokens:,} tokens make {self.num_rows:,}; "
                f"try --data.sequence-length {self.num_tokens // MOST_ROWS + 1} or more"
            )


def _places(begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segments, counted from 1, and positions within each, where documents begin so, [n, T]."""
    steps = np.arange(begins.shape[1], dtype=np.int32)
    # What a row is cut inside of is its first segment.
    segments = np.cumsum(begins, axis=1, dtype=np.int32) + ~begins[:, :1]
    return segments, steps - np.maximum.accumulate(np.where(begins, steps, 0), axis=1)
