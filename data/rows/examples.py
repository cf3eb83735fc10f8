"""Rows that are examples: records of sources, read whole, each framed as a tokenizer's template has
it, `begin text end` or `begin text end second end`."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from data.batch import Kind
from data.cache import digest_of
from data.errors import UserError
from data.examples_config import ExamplesConfig
from data.rows.predictor import Example
from data.rows.records import RecordRows, read_examples
from data.rows.rows import Split
from data.rows.windows import require_ids
from data.tokenizer import Tokenizer, identity


class Texts(NamedTuple):
    """Framed texts of a batch, [n, T]; padding has segment 0."""

    tokens: np.ndarray
    segment_ids: np.ndarray
    token_types: np.ndarray | None


Opened = TypeVar("Opened")


def open_examples(
    kind: Callable[..., Opened],
    config: ExamplesConfig,
    fields: Sequence[str],
    split: Split,
    report: Callable[[str], None],
) -> Opened:
    """The rows of that kind of a split, of examples with those fields; the hash of the first
    decides which are held out. ValueError, with the record's place, for what is no text."""
    splits, digest = read_examples(config, fields, lambda e: str(e.values[fields[0]]), report)
    return kind(config, split, config.load_tokenizer(), splits[split], digest, report)


class ExampleRows(RecordRows[Kind]):
    """Texts of a split. A subclass says what is asked of each."""

    def __init__(
        self,
        config: ExamplesConfig,
        split: Split,
        tokenizer: Tokenizer,
        examples: list[Example],
        digest: str,
        *,
        count: int | None = None,
    ) -> None:
        """`count` are the rows, if they are not as many as examples."""
        self._config, self._tokenizer = config, tokenizer
        digest = digest_of(
            digest, identity(tokenizer), config.sequence_length, config.too_long, config.seed
        )
        super().__init__(config, split, examples, digest, count=count)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the config."""
        return self._tokenizer

    def check(self, model: Any) -> None:
        """Raise ValueError if a model of this config cannot be asked these rows."""
        super().check(model)
        require_ids(model, self._tokenizer.vocab_size, self._config.tokenizer)

    def meta(self) -> dict[str, Any]:
        return {**super().meta(), "tokenizer_digest": identity(self._tokenizer)}

    def describe(self) -> list[str]:
        """Examples of an epoch, and tokens of a row."""
        T = self._config.sequence_length
        return [f"data: {self.num_rows:,} examples in rows of {T} tokens, each epoch"]


def framed(tokenizer: Tokenizer, parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The ids of a text or a pair as a row, and the type of each: `begin first end second end`."""
    ids, types = [np.array([tokenizer.begin.id])], [np.zeros(1, np.int32)]
    for number, part in enumerate(parts):
        ids += [part, np.array([tokenizer.end.id])]
        types.append(np.full(len(part) + 1, number, np.int32))
    return np.concatenate(ids).astype(np.int32), np.concatenate(types)


def fitted(
    config: ExamplesConfig,
    encoded: Sequence[Sequence[np.ndarray]],
    names: Callable[[int], str],
    report: Callable[[str], None],
) -> list[list[np.ndarray]]:
    """The parts of each example, which with their frame fit into a row; those that do not are
    refused by name, or cut at their longer part's end and counted, as `data.too_long` says."""
    T = config.sequence_length
    long = [i for i, parts in enumerate(encoded) if framed_length(parts) > T]
    longest = max(map(framed_length, encoded), default=0)
    if long and config.too_long == "refuse":
        raise UserError(
            f"data.sequence_length={T} must be at least {longest}, because the longest example has "
            f"so many tokens, and {len(long):,} of {len(encoded):,} are longer than a row: the "
            f"first is {names(long[0])}; try --data.sequence-length {longest}, or --data.too-long "
            "cut, which cuts off their ends"
        )
    if long:
        report(
            f"data: {len(long):,} of {len(encoded):,} examples are longer than {T} tokens and cut, "
            f"the first {names(long[0])}; the longest has {longest:,}"
        )
    return [_cut(list(parts), T) for parts in encoded]


def framed_length(parts: Sequence[np.ndarray]) -> int:
    """Tokens of a row that holds these parts."""
    return 1 + sum(len(part) + 1 for part in parts)


def _cut(parts: list[np.ndarray], T: int) -> list[np.ndarray]:
    while (more := framed_length(parts) - T) > 0:
        longest = max(range(len(parts)), key=lambda i: len(parts[i]))
        others = [len(part) for i, part in enumerate(parts) if i != longest]
        spare = max(1, len(parts[longest]) - max(others, default=0))
        keep = max(0, len(parts[longest]) - min(more, spare))
        parts[longest] = parts[longest][:keep]
        if keep == 0 and not any(map(len, parts)):
            break
    return parts


def texts_of(
    tokenizer: Tokenizer, rows: Sequence[Sequence[np.ndarray] | None], T: int, *, pairs: bool
) -> Texts:
    """The rows of a batch, one a list of parts; None is padding."""
    shape = (len(rows), T)
    tokens = np.full(shape, tokenizer.end.id, np.int32)
    segments, types = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for row, parts in enumerate(rows):
        if parts is None:
            continue
        ids, kinds = framed(tokenizer, parts)
        tokens[row, : len(ids)], segments[row, : len(ids)] = ids, 1
        types[row, : len(ids)] = kinds
    return Texts(tokens, segments, types if pairs else None)


def encoded_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    """The ids of each text."""
    return [np.asarray(ids, np.int32) for ids in tokenizer.encode_batch(list(texts))]


def require_text(value: Any, field: str, origin: str) -> str:
    """The value itself; ValueError, naming its place, if it is no text."""
    if not isinstance(value, str):
        raise UserError(
            f"field {field!r} must be text, but in {origin} it is {type(value).__name__}; try "
            "another field"
        )
    return value
