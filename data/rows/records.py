"""Rows that are records of sources, which are listed whole, whatever their fields hold."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from data.batch import Kind
from data.cache import digest_of
from data.corpus import open_corpus
from data.errors import UserError
from data.order import ORDER, Order
from data.rows.predictor import Example
from data.rows.rows import Rows, Split
from data.shard import is_held_out
from data.sources.source import Record

if TYPE_CHECKING:
    from data.arrays_config import ArraysConfig
    from data.examples_config import ExamplesConfig

RecordsConfig = Union["ExamplesConfig", "ArraysConfig"]


def read_examples(
    config: RecordsConfig,
    fields: Sequence[str],
    content_of: Callable[[Example], str | bytes],
    report: Callable[[str], None],
) -> tuple[dict[Split, list[Example]], str]:
    """The examples of both splits and a digest of their sources.

    `content_of` is what decides by its hash whether an example is held out, unless other sources
    are.
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
                    splits[_split(config, name, example, content_of)].append(example)
    if not splits["train"]:
        raise UserError(
            f"data.sources={config.sources} must have examples to train on, because rows are made "
            "of them, but they have none; try other files, or a smaller --data.held-out"
        )
    return splits, digest_of(ORDER, digests, fields, config.held_out)


def _example(record: Record, fields: Sequence[str]) -> Example:
    values = {field: record.values[field] for field in fields}
    return Example(values, record.origin)


def _split(
    config: RecordsConfig,
    source_field: str,
    example: Example,
    content_of: Callable[[Example], str | bytes],
) -> Split:
    if source_field == "held_out_sources":
        return "held_out"
    if config.held_out_sources or not config.held_out:
        return "train"
    content = content_of(example)
    if isinstance(content, str):
        content = content.encode(errors="surrogatepass")
    return "held_out" if is_held_out(content, config.held_out) else "train"


class RecordRows(Rows[Kind]):
    """Records of a split. A subclass says what is asked of each."""

    def __init__(
        self,
        config: RecordsConfig,
        split: Split,
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
        self._examples = examples
        super().__init__(split, Order([count or len(examples)], seed=config.seed), digest)

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Scores that are asked for of each row or place."""

    def check(self, model: Any) -> None:
        """Raise ValueError if a model of this config cannot be asked these rows."""
        super().check(model)
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


def counted(labels: Sequence[str]) -> str:
    """How often each label comes, the commonest first."""
    counts = Counter(labels).most_common()
    shown = ", ".join(f"{name} {count:,}" for name, count in counts[:8])
    return shown + (f" and {len(counts) - 8} more" if len(counts) > 8 else "")
