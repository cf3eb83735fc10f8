"""Rows of texts and what is to be written of each, several pairs to a row."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data.batch import Batch, SourceTargetRows
from data.cache import digest_of
from data.config import to_stderr
from data.errors import UserError
from data.examples_config import TargetsConfig
from data.rows.examples import ExampleRows, encoded_texts, open_examples, require_text
from data.rows.predictor import Example
from data.rows.rows import Split
from data.spans_config import SpansConfig
from data.tokenizer import Tokenizer

OPEN_ROWS = 64
"""Rows that a pair may still go into while rows are filled."""


def open_targets(
    config: TargetsConfig, split: Split, report: Callable[[str], None] = to_stderr
) -> "TargetRows":
    """The rows of a split; errors of `open_examples`."""
    fields = [config.source_field, config.target_field]
    return open_examples(TargetRows, config, fields, split, report)


class TargetRows(ExampleRows[SourceTargetRows]):
    """Pairs, packed once: sources and targets side by side, each side with lengths of its own."""

    question = "targets"

    def __init__(
        self,
        config: TargetsConfig,
        split: Split,
        tokenizer: Tokenizer,
        examples: list[Example],
        digest: str,
        report: Callable[[str], None],
    ) -> None:
        sides = (
            (config.source_field, "sequence_length", config.sequence_length),
            (config.target_field, "target_length", config.written_length),
        )
        self._asked = config
        self._sides = [
            fitted_side(config, tokenizer, examples, field, name, length, report)
            for field, name, length in sides
        ]
        lengths = np.array([[len(ids) for ids in side] for side in self._sides]).reshape(2, -1)
        self._packed = packed(lengths.T, (config.sequence_length, config.written_length))
        super().__init__(config, split, tokenizer, examples, digest, count=len(self._packed))
        self.digest = digest_of(self.digest, "targets", config.written_length)

    @property
    def outputs(self) -> int:
        return 0

    def check(self, model: Any) -> None:
        """Raise ValueError if a model of this config cannot be asked these rows."""
        super().check(model)
        length = self._asked.written_length
        require_places(model, length, f"data.target_length={length}")

    def describe(self) -> list[str]:
        """Pairs and rows of an epoch, and how full these are."""
        S, T = self._asked.sequence_length, self._asked.written_length
        read, written = (
            100 * sum(map(len, side)) / (self.num_rows * length)
            for side, length in zip(self._sides, (S, T), strict=True)
        )
        return [
            f"data: {len(self._examples):,} pairs in {self.num_rows:,} rows of {S} and {T} tokens, "
            f"{read:.0f} % and {written:.0f} % of them filled, each epoch"
        ]

    def origin(self, index: int) -> str:
        """File and place of the first pair of a row."""
        row = self._packed[int(self.examples(np.array([index]))[0])]
        return self._examples[row[0]].origin

    def batch(self, indices: np.ndarray) -> SourceTargetRows:
        """The rows of these numbers in the order; held-out rows past the end have weight 0."""
        rows: list[Sequence[int]] = [()] * len(indices)
        for place, number in self.of_rows(indices):
            rows[place] = self._packed[number]
        read = self._side(0, rows, self._asked.sequence_length)
        own = self._side(1, rows, self._asked.written_length)
        return written(*read, *own, begin=self._tokenizer.begin.id)

    def pairs(self, indices: np.ndarray) -> list[tuple[np.ndarray, str]]:
        """The tokens of the source, and the text of the target, of each pair of these rows."""
        field = self._asked.target_field
        return [
            (self._sides[0][pair], self._examples[pair].values[field])
            for _, number in self.of_rows(indices)
            for pair in self._packed[number]
        ]

    def _side(
        self, side: int, rows: Sequence[Sequence[int]], length: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, positions and segments of one side of some rows of pairs."""
        shape = (len(rows), length)
        tokens = np.full(shape, self._tokenizer.end.id, np.int32)
        positions, segments = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        for place, pairs in enumerate(rows):
            start = 0
            for segment, pair in enumerate(pairs, 1):
                ids = self._sides[side][pair]
                part = slice(start, start := start + len(ids))
                tokens[place, part], segments[place, part] = ids, segment
                positions[place, part] = np.arange(len(ids))
        return tokens, positions, segments


def require_places(model: Any, length: int, field: str) -> None:
    """Raise ValueError, naming the field, if a model of this config has no places for targets of
    that length."""
    if model.longest_row is not None and model.longest_row < length:
        raise UserError(
            f"{field} must be at most model.max_length={model.longest_row}, "
            f"because the model has no later positions; try --model.max-length {length}"
        )


def written(
    sources: np.ndarray,
    places: np.ndarray,
    read: np.ndarray,
    targets: np.ndarray,
    positions: np.ndarray,
    segments: np.ndarray,
    begin: int,
) -> SourceTargetRows:
    """Rows whose targets each follow the token before it, the first of a text `begin`; padding, of
    segment 0, does not count."""
    tokens = np.where(positions == 0, np.int32(begin), np.roll(targets, 1, axis=1))
    weights = (segments > 0).astype(np.float32)
    return SourceTargetRows(sources, places, read, tokens, targets, positions, segments, weights)


def fitted_side(
    config: TargetsConfig,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    field: str,
    name: str,
    length: int,
    report: Callable[[str], None],
) -> list[np.ndarray]:
    """The ids of a field of each example and the end token; empty texts are refused by name, and so
    are those of more than `length` ids, or cut at their end and counted, as `data.too_long`
    says."""
    texts = [require_text(e.values[field], field, e.origin) for e in examples]
    if empty := [number for number, text in enumerate(texts) if not text.strip()]:
        raise UserError(
            f"field {field!r} must hold text, because an empty one says nothing, but "
            f"{len(empty):,} of {len(texts):,} are empty: the first is "
            f"{examples[empty[0]].origin}; try leaving these records out"
        )
    encoded = encoded_texts(tokenizer, texts)
    long = [number for number, ids in enumerate(encoded) if len(ids) >= length]
    longest = 1 + max(map(len, encoded), default=0)
    if long and config.too_long == "refuse":
        raise UserError(
            f"data.{name}={length} must be at least {longest}, because the longest {field} has so "
            f"many tokens with the one that ends it, and {len(long):,} of {len(encoded):,} are "
            f"longer than a row: the first is {examples[long[0]].origin}; try "
            f"--data.{name.replace('_', '-')} {longest}, or --data.too-long cut, which cuts off "
            "their ends"
        )
    if long:
        report(
            f"data: {len(long):,} of {len(encoded):,} of field {field} are longer than {length} "
            f"tokens and cut, the first {examples[long[0]].origin}; the longest has {longest:,}"
        )
    end = np.array([tokenizer.end.id], np.int32)
    return [np.concatenate([ids[: length - 1], end]) for ids in encoded]


def packed(lengths: np.ndarray, room: tuple[int, int]) -> list[list[int]]:
    """Numbers of pairs, row by row: each goes into the first of the last rows begun that has room
    for both of its sides. `lengths` is [pairs, 2]."""
    rows: list[list[int]] = []
    free = np.zeros((0, 2), int)
    for number, own in enumerate(lengths):
        fits = np.flatnonzero((free >= own).all(axis=1))
        if not len(fits):
            rows.append([])
            free = np.concatenate([free, [room]])[-OPEN_ROWS:]
        place = int(fits[0]) if len(fits) else len(free) - 1
        free[place] -= own
        rows[len(rows) - len(free) + place].append(number)
    return rows


def target_shapes(config: TargetsConfig | SpansConfig, batch_size: int) -> Batch:
    """A batch of that size in shapes and types alone."""
    read = np.broadcast_to(np.int32(0), (batch_size, config.sequence_length))
    written = np.broadcast_to(np.int32(0), (batch_size, config.written_length))
    weights = np.broadcast_to(np.float32(0), written.shape)
    return SourceTargetRows(read, read, read, written, written, written, written, weights)
