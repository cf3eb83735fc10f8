"""Rows of records of arrays that have a label each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data.arrays_config import ImagesConfig, SeriesConfig
from data.batch import Kind
from data.cache import digest_of
from data.rows import label_names
from data.rows.named import NamedRows
from data.rows.predictor import Example, Predictor
from data.rows.records import counted, read_examples
from data.rows.rows import Split
from data.scores import confusion, of_classes

SHOWN = 5
"""Examples at the end of a run."""


def read_labelled(
    config: ImagesConfig | SeriesConfig,
    split: Split,
    field: str,
    content_of: Callable[[Example], bytes],
    report: Callable[[str], None],
) -> tuple[list[Example], tuple[str, ...], str]:
    """The examples of a split, the names of all labels, and the sources' digest; `field` is that of
    the array. ValueError for a label that is none, or that only held-out examples have."""
    splits, digest = read_examples(config, [field, config.label_field], content_of, report)
    labels = {
        name: [label_names.label_of(config.label_field, each) for each in examples]
        for name, examples in splits.items()
    }
    names = config.labels or label_names.label_names(
        config.label_field, labels["train"], splits["train"]
    )
    label_names.require_seen(labels["held_out"], splits["held_out"], set(labels["train"]))
    return splits[split], names, digest_of(digest, names, labels)


class ClassifiedRows(NamedRows[Kind]):
    """Records of a split with a label each."""

    def __init__(
        self,
        config: ImagesConfig | SeriesConfig,
        split: Split,
        examples: list[Example],
        names: Sequence[str],
        digest: str,
    ) -> None:
        numbers = {name: number for number, name in enumerate(names)}
        self.targets = np.array(
            [
                label_names.number_of(
                    numbers, label_names.label_of(config.label_field, example), example
                )
                for example in examples
            ],
            np.int32,
        )
        super().__init__(config, split, examples, names, digest)

    def describe(self) -> list[str]:
        """Examples of an epoch, and how often each label comes."""
        size = " x ".join(map(str, self._shape))
        return [
            f"data: {self.num_rows:,} examples of {size}, each epoch",
            "labels: " + counted([self.labels[target] for target in self.targets]),
        ]

    def score(self, indices: np.ndarray, outputs: Any) -> Mapping[str, float]:
        """Measures of the scores [n, C] of these rows, which there are."""
        return of_classes(outputs, self.targets[self.examples(indices)])

    def show(self, indices: np.ndarray, outputs: Any) -> list[str]:
        """Some examples with the label that the model gives them, and the right one."""
        lines = []
        for row, number in self.of_rows(indices[:SHOWN]):
            said, right = (
                self.labels[int(np.argmax(outputs[row]))],
                self.labels[self.targets[number]],
            )
            lines.append(f"{said} (right: {right})  {_end(self._examples[number].origin)}")
        return lines

    def confusion(self, indices: np.ndarray, outputs: Any) -> tuple[Sequence[str], np.ndarray]:
        targets = self.targets[self.examples(indices)]
        return self.labels, confusion(np.argmax(outputs, axis=-1), targets, len(self.labels))


def _end(origin: str, most: int = 50) -> str:
    """The end of a place, which tells it from others."""
    return origin if len(origin) <= most else "..." + origin[3 - most :]


class ClassPredictor(Predictor):
    """Other examples, asked for their label. A subclass makes a batch of them."""

    of_texts = False

    def __init__(self, field: str, names: Sequence[str]) -> None:
        self.fields = [field]
        self._names = tuple(names)

    def answers(self, inputs: Sequence[Example], outputs: Any) -> list[dict[str, Any]]:
        """The label, with the probability of each."""
        scores = np.asarray(outputs, np.float64)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        return [label_names.likeliest(self._names, each) for each in shares]

    def written(self, example: Example) -> dict[str, Any]:
        """Where the example lies."""
        return {self.fields[0]: example.origin}
