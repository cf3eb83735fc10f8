"""Rows that are examples: records of sources, read whole, each framed as a tokenizer's template has
it, `begin text end` or `begin text end second end`."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from data.batch import Kind
from data.cache import digest_of
from data.corpus import open_corpus
from data.errors import UserError
from data.examples_config import ExamplesConfig
from data.order import ORDER, Order
from data.rows.predictor import Example
from data.rows.rows import Rows, Split
from data.rows.windows import require_ids
from data.shard import is_held_out
from data.sources.source import Record
from data.tokenizer import Tokenizer, identity


class Texts(NamedTuple):
    """Framed texts of a batch, [n, T]; padding has segment 0."""

    tokens: np.ndarray
    segment_ids: np.ndarray
    token_types: np.ndarray | None


def read_examples(
    config: ExamplesConfig,
    fields: Sequence[str],
    text_of: Callable[[Example], str],
    report: Callable[[str], None],
) -> tuple[dict[Split, list[Example]], str]:
    """The examples of both splits and a digest of their sources.

    `text_of` is what decides by its hash whether an example is held out, unless other sources are.
    """
    splits: dict[Split, list[Example]] = {"train": [], "held_out": []}
    digests = []
    for name in config.source_fields:
        for spec in getattr(config, name):
            corpus = open_corpus(spec, config, report)
            digests.append((name, corpus.digest))
            for piece in corpus.pieces():
                for record in corpus.records(piece, fields):
                    example = _example(record, fields)
                    splits[_split(config, name, text_of(example))].append(example)
    if not splits["train"]:
        raise UserError(
            f"data.sources={config.sources} must have examples to train on, because rows are made "
            "of them, but they have none; try other files, or a smaller --data.held-out"
        )
    return splits, digest_of(ORDER, digests, fields, config.held_out)


def _example(record: Record, fields: Sequence[str]) -> Example:
    values = {field: record.values[field] for field in fields}
    return Example(values, f"{record.file} at {record.where}")


def _split(config: ExamplesConfig, source_field: str, text: str) -> Split:
    if source_field == "held_out_sources":
        return "held_out"
    if config.held_out_sources:
        return "train"
    held_out = is_held_out(text.encode(errors="surrogatepass"), config.held_out)
    return "held_out" if held_out else "train"


class ExampleRows(Rows[Kind]):
    """Examples of a split. A subclass says what is asked of each."""

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
        if not examples:
            raise UserError(
                f"data.held_out={config.held_out} must keep an example for evaluation, because the "
                "loss is a mean over them; try a larger share, --data.held-out-sources, or "
                "--train.eval-batches 0"
            )
        self._config, self._tokenizer = config, tokenizer
        self._examples = examples
        digest = digest_of(
            digest, identity(tokenizer), config.sequence_length, config.too_long, config.seed
        )
        super().__init__(split, Order([count or len(examples)], seed=config.seed), digest)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the config."""
        return self._tokenizer

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Scores that are asked for of each row or place."""

    def check(self, model: Any) -> None:
        """Raise ValueError if a model of this config cannot be asked these rows."""
        super().check(model)
        require_ids(model, self._tokenizer.vocab_size, self._config.tokenizer)
        # A family from elsewhere may have no such head, but one of its own.
        if model.questions and (has := model.head.outputs) != self.outputs:
            raise UserError(
                f"model.head.outputs={has} must be {self.outputs}, because the data have so many: "
                f"{self.named_outputs()}; try --model.head.outputs {self.outputs}"
            )

    def named_outputs(self) -> str:
        """What the scores are of, for messages."""
        return f"{self.outputs} scores"

    def of_rows(self, indices: np.ndarray) -> Iterator[tuple[int, int]]:
        """Place in the batch and number of the example of each row that there is."""
        there = self.present(indices)
        places = np.flatnonzero(there)
        return zip(places.tolist(), self.examples(indices[there]).tolist(), strict=True)

    def origin(self, index: int) -> str:
        """File and place of the record that a row is."""
        return self._examples[int(self.examples(np.array([index]))[0])].origin

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


def counted(labels: Sequence[str]) -> str:
    """How often each label comes, the commonest first."""
    counts = Counter(labels).most_common()
    shown = ", ".join(f"{name} {count:,}" for name, count in counts[:8])
    return shown + (f" and {len(counts) - 8} more" if len(counts) > 8 else "")
