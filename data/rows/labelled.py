"""Rows of texts or pairs of texts with a label, several labels, or a number."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data.batch import Batch, LabelledRows, ManyLabelsRows, ScoredRows
from data.cache import digest_of
from data.config import to_stderr
from data.errors import UserError
from data.examples_config import LabelledConfig
from data.rows import label_names
from data.rows.examples import (
    ExampleRows,
    Texts,
    encoded_texts,
    fitted,
    require_text,
    texts_of,
)
from data.rows.predictor import Example, Predictor
from data.rows.records import counted, read_examples
from data.rows.rows import Split
from data.scores import confusion, of_label_sets, of_labels, of_numbers
from data.tokenizer import Tokenizer

SHOWN, SHOWN_CHARACTERS = 5, 60
"""Texts at the end of a run, and characters of each."""


def open_labelled(
    config: LabelledConfig, split: Split, report: Callable[[str], None] = to_stderr
) -> "LabelledTexts":
    """The rows of a split; ValueError, with the record's place, for what cannot be learnt."""
    tokenizer = config.load_tokenizer()
    fields = [*text_fields(config), config.label_field]
    splits, digest = read_examples(
        config, fields, lambda e: str(e.values[config.text_field]), report
    )
    one = config.task == "one"
    labels = [label_of(config, example) for example in splits["train"]] if one else []
    names = config.labels
    if one and not names:
        names = label_names.label_names(config.label_field, labels, splits["train"])
    rows = LabelledTexts(config, split, tokenizer, splits[split], digest, names, report)
    if one and split == "held_out":
        asked = [label_of(config, example) for example in splits["held_out"]]
        label_names.require_seen(asked, splits["held_out"], set(labels))
    return rows


def text_fields(config: LabelledConfig) -> list[str]:
    """Fields of the texts of an example."""
    return [config.text_field, *([config.pair_field] if config.pair_field else [])]


def label_of(config: LabelledConfig, example: Example) -> str:
    """The one label of an example; ValueError if it is none."""
    otherwise = ", or --data.task number or several"
    return label_names.label_of(config.label_field, example, otherwise)


class LabelledTexts(ExampleRows[Any]):
    """Texts with what is to be predicted of each. labels: their names by their numbers."""

    question = "labels"

    def __init__(
        self,
        config: LabelledConfig,
        split: Split,
        tokenizer: Tokenizer,
        examples: list[Example],
        digest: str,
        names: tuple[str, ...],
        report: Callable[[str], None],
    ) -> None:
        super().__init__(config, split, tokenizer, examples, digest)
        self._labelled = config
        self.labels = names
        self.digest = digest_of(self.digest, "labels", config.task, names, config.balance)
        self._numbers = {name: number for number, name in enumerate(names)}
        self._targets = [self._target(example) for example in examples]
        columns = [
            encoded_texts(tokenizer, [require_text(e.values[f], f, e.origin) for e in examples])
            for f in text_fields(config)
        ]
        self._parts = fitted(
            config,
            list(zip(*columns, strict=True)),
            lambda number: examples[number].origin,
            report,
        )
        self._weights = np.ones(max(1, len(names)), np.float32)
        if config.balance and split == "train":
            counts = Counter(int(target) for target in self._targets)
            for number in range(len(names)):
                if counts[number]:
                    self._weights[number] = len(examples) / (len(counts) * counts[number])

    @property
    def outputs(self) -> int:
        return max(1, len(self.labels))

    def named_outputs(self) -> str:
        return label_names.named_outputs(self.labels) or "a number"

    def describe(self) -> list[str]:
        """Examples of an epoch, and how often each label comes."""
        lines = super().describe()
        if self._labelled.task == "one":
            lines.append("labels: " + counted([self.labels[int(t)] for t in self._targets]))
        return lines

    def batch(self, indices: np.ndarray) -> Batch:
        """The rows of these numbers in the order; held-out rows past the end have weight 0."""
        config, n = self._labelled, len(indices)
        rows: list[Sequence[np.ndarray] | None] = [None] * n
        for place, number in self.of_rows(indices):
            rows[place] = self._parts[number]
        pairs = config.pair_field is not None
        texts = texts_of(self._tokenizer, rows, config.sequence_length, pairs=pairs)
        batch: Any = labelled(config, texts, len(self.labels))
        batch.weights[:] = 0
        for place, number in self.of_rows(indices):
            target = self._targets[number]
            batch.targets[place] = target
            batch.weights[place] = self._weights[target] if config.task == "one" else 1
        return batch

    def meta(self) -> dict[str, Any]:
        return {**super().meta(), "names": list(self.labels)}

    def _target(self, example: Example) -> Any:
        config, value = self._labelled, example.values[self._labelled.label_field]
        if config.task == "number":
            return self._number(value, example)
        if config.task == "one":
            return label_names.number_of(self._numbers, label_of(config, example), example)
        names = value.split(",") if isinstance(value, str) else value
        chosen = np.zeros(len(self.labels), np.float32)
        for name in names:
            if text := str(name).strip():
                chosen[label_names.number_of(self._numbers, text, example)] = 1
        return chosen

    def _number(self, value: Any, example: Example) -> float:
        try:
            number = float(value)
            if np.isfinite(number):
                return number
        except (TypeError, ValueError):
            pass
        raise UserError(
            f"data.label_field={self._labelled.label_field!r} must hold a number in every example, "
            f"because data.task=number, but in {example.origin} it is {value!r}; try another field"
        )

    def score(self, indices: np.ndarray, outputs: Any) -> Mapping[str, float]:
        """Measures of the scores [n, C] of these rows, which there are."""
        targets = np.array([self._targets[number] for _, number in self.of_rows(indices)])
        task = self._labelled.task
        if task == "one":
            return of_labels(np.argmax(outputs, axis=-1), targets, len(self.labels))
        if task == "several":
            return of_label_sets(outputs > 0, targets > 0)
        return of_numbers(outputs[:, 0], targets)

    def show(self, indices: np.ndarray, outputs: Any) -> list[str]:
        """Some texts with the label that the model gives them, and the right one."""
        predictor = LabelPredictor(self._labelled, self._tokenizer, self.labels)
        lines = []
        for row, number in list(self.of_rows(indices[:SHOWN])):
            example = self._examples[number]
            (answer,) = predictor.answers([example], outputs[row : row + 1])
            right = str(example.values[self._labelled.label_field])
            text = str(example.values[self._labelled.text_field])
            lines.append(f"{predictor.brief(answer)} (right: {right})  {text[:SHOWN_CHARACTERS]}")
        return lines

    def confusion(
        self, indices: np.ndarray, outputs: Any
    ) -> tuple[Sequence[str], np.ndarray] | None:
        if self._labelled.task != "one":
            return None
        targets = np.array([self._targets[number] for _, number in self.of_rows(indices)])
        table = confusion(np.argmax(outputs, axis=-1), targets, len(self.labels))
        return self.labels, table


class LabelPredictor(Predictor):
    """Other texts, asked for their labels. names: the labels by their numbers."""

    def __init__(self, config: LabelledConfig, tokenizer: Tokenizer, names: Sequence[str]) -> None:
        self._config, self._tokenizer, self._names = config, tokenizer, tuple(names)
        self.fields = text_fields(config)

    def batch(self, inputs: Sequence[Example], report: Callable[[str], None]) -> Batch:
        columns = [
            encoded_texts(self._tokenizer, [require_text(x.values[f], f, x.origin) for x in inputs])
            for f in self.fields
        ]
        parts = list(zip(*columns, strict=True))
        parts = fitted(self._config, parts, lambda n: inputs[n].origin, report)
        config = self._config
        texts = texts_of(
            self._tokenizer, parts, config.sequence_length, pairs=config.pair_field is not None
        )
        return labelled(config, texts, len(self._names))

    def answers(self, inputs: Sequence[Example], outputs: Any) -> list[dict[str, Any]]:
        """The label, or labels, with the probability of each; or the number."""
        return [self._answer(np.asarray(scores, np.float64)) for scores in outputs]

    @staticmethod
    def brief(answer: Mapping[str, Any]) -> str:
        """What is said, without probabilities."""
        if "number" in answer:
            return f"{answer['number']:.3f}"
        return answer["label"] if "label" in answer else " ".join(answer["labels"]) or "none"

    def _answer(self, scores: np.ndarray) -> dict[str, Any]:
        task = self._config.task
        if task == "number":
            return {"number": float(scores[0])}
        shares = np.exp(scores - scores.max())
        shares = 1 / (1 + np.exp(-scores)) if task == "several" else shares / shares.sum()
        if task == "one":
            return label_names.likeliest(self._names, shares)
        named = dict(zip(self._names, map(float, shares), strict=True))
        chosen = [name for name, share in named.items() if share > 0.5]
        return {"labels": chosen, "probabilities": named}


def open_label_predictor(
    config: LabelledConfig, tokenizer: Tokenizer, meta: Mapping[str, Any]
) -> LabelPredictor:
    """How the run of this config, whose checkpoint has that meta, is asked other texts."""
    return LabelPredictor(config, tokenizer, meta["names"])


def labelled(config: LabelledConfig, texts: Texts, outputs: int) -> Batch:
    """A batch of these texts, whose targets are not known and 0."""
    n = len(texts.tokens)
    weights = np.ones(n, np.float32)
    if config.task == "one":
        return LabelledRows(*texts, targets=np.zeros(n, np.int32), weights=weights)
    kind = ManyLabelsRows if config.task == "several" else ScoredRows
    return kind(*texts, targets=np.zeros((n, max(1, outputs)), np.float32), weights=weights)


def labelled_shapes(config: LabelledConfig, batch_size: int) -> Batch:
    """A batch of that size in shapes and types alone."""
    ids = np.broadcast_to(np.int32(0), (batch_size, config.sequence_length))
    types = ids if config.pair_field else None
    return labelled(config, Texts(ids, ids, types), len(config.labels))
