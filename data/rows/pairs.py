"""Rows of two texts that mean the same, to learn sentence embeddings from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data.batch import Batch, ParallelRows
from data.cache import digest_of
from data.config import to_stderr
from data.examples_config import PairsConfig
from data.rows.examples import (
    ExampleRows,
    encoded_texts,
    fitted,
    open_examples,
    require_text,
    texts_of,
)
from data.rows.predictor import Example, Predictor
from data.rows.rows import Split
from data.scores import of_pairs
from data.tokenizer import Tokenizer


def open_pairs(
    config: PairsConfig, split: Split, report: Callable[[str], None] = to_stderr
) -> "PairedTexts":
    """The rows of a split; errors of `open_examples`."""
    fields = [config.text_field, config.pair_field]
    return open_examples(PairedTexts, config, fields, split, report)


class PairedTexts(ExampleRows[ParallelRows]):
    """Pairs of texts, each framed alone."""

    question = "embedding"

    def __init__(
        self,
        config: PairsConfig,
        split: Split,
        tokenizer: Tokenizer,
        examples: list[Example],
        digest: str,
        report: Callable[[str], None],
    ) -> None:
        super().__init__(config, split, tokenizer, examples, digest)
        self.digest = digest_of(self.digest, "embedding")
        self._sides = [
            encoded_alone(config, tokenizer, examples, field, report)
            for field in (config.text_field, config.pair_field)
        ]

    @property
    def outputs(self) -> int:
        return 0

    def batch(self, indices: np.ndarray) -> ParallelRows:
        """The rows of these numbers in the order; held-out rows past the end have weight 0."""
        sides = []
        for encoded in self._sides:
            rows: list[Sequence[np.ndarray] | None] = [None] * len(indices)
            for place, number in self.of_rows(indices):
                rows[place] = encoded[number]
            T = self._config.sequence_length
            sides += texts_of(self._tokenizer, rows, T, pairs=False)[:2]
        weights = self.present(indices).astype(np.float32)
        return ParallelRows(*sides, weights=weights)

    def score(self, indices: np.ndarray, outputs: Any) -> Mapping[str, float]:
        """How often a text's nearest among all these rows is its own pair; of unit vectors."""
        return of_pairs(*outputs)


class EmbeddingPredictor(Predictor):
    """Single texts, of which the embedding is asked."""

    def __init__(self, config: PairsConfig, tokenizer: Tokenizer) -> None:
        self._config, self._tokenizer = config, tokenizer
        self.fields = [config.text_field]

    def batch(self, inputs: Sequence[Example], report: Callable[[str], None]) -> ParallelRows:
        parts = encoded_alone(
            self._config, self._tokenizer, inputs, self._config.text_field, report
        )
        T = self._config.sequence_length
        tokens, segments, _ = texts_of(self._tokenizer, parts, T, pairs=False)
        weights = np.ones(len(parts), np.float32)
        return ParallelRows(tokens, segments, tokens, segments, weights)

    def answers(self, inputs: Sequence[Example], outputs: Any) -> list[dict[str, Any]]:
        """The embedding of each text, of length 1."""
        return [{"embedding": vector.tolist()} for vector in outputs[0]]


def open_pair_predictor(
    config: PairsConfig, tokenizer: Tokenizer, meta: Mapping[str, Any]
) -> EmbeddingPredictor:
    """How the run of this config is asked other texts."""
    return EmbeddingPredictor(config, tokenizer)


def encoded_alone(
    config: PairsConfig,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    field: str,
    report: Callable[[str], None],
) -> list[list[np.ndarray]]:
    """The ids of a field of each example, which with their frame fit into a row."""
    texts = [require_text(e.values[field], field, e.origin) for e in examples]
    parts = [[ids] for ids in encoded_texts(tokenizer, texts)]
    return fitted(config, parts, lambda number: examples[number].origin, report)


def pair_shapes(config: PairsConfig, batch_size: int) -> Batch:
    """A batch of that size in shapes and types alone."""
    ids = np.broadcast_to(np.int32(0), (batch_size, config.sequence_length))
    return ParallelRows(ids, ids, ids, ids, np.broadcast_to(np.float32(0), (batch_size,)))
