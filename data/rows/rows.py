"""What training, evaluation and resume need of rows, whatever they are made of."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal

import numpy as np

from data.batch import Kind
from data.errors import UserError
from data.order import Order, rows_at

if TYPE_CHECKING:
    from data.tokenizer import Tokenizer

Split = Literal["train", "held_out"]


class Rows(ABC, Generic[Kind]):
    """The rows of a split by their number in the order of training.

    A kind of rows defines `batch`; the other methods have defaults that suit examples without
    files and text. digest: hex of all that decides the rows and their order, the same for both
    splits. num_rows: rows in one epoch. question: what they ask of a model, as
    `FamilyConfig.questions` names it.
    """

    question: ClassVar[str] = ""

    def __init__(self, split: Split, order: Order, digest: str) -> None:
        self._split = split
        self._order = order
        self.digest = digest
        self.num_rows = order.num_examples

    @property
    def tokenizer(self) -> "Tokenizer | None":
        """What makes text of a model's tokens; None if these rows are none of text."""
        return None

    @abstractmethod
    def batch(self, indices: np.ndarray) -> Kind:
        """The rows of these numbers in the order; held-out rows past the end have weight 0."""

    def batches(
        self,
        start: int,
        batch_size: int,
        local_rows: np.ndarray,
        skipped: Sequence[Sequence[int]] = (),
    ) -> Iterator[Kind]:
        """Batch b holds this process's rows of the order: start + b * batch_size + local_rows.

        The ranges of rows `skipped` (first, first after) are as if they were not in the order.
        Training rows never end: each epoch has its own order. Held-out rows come once, in
        one shuffled order; the last batch is filled with rows of weight 0.
        """
        while self._split == "train" or start < self.num_rows:
            yield self.batch(rows_at(start + local_rows, skipped))
            start += batch_size

    def present(self, indices: np.ndarray) -> np.ndarray:
        """Which of these rows there are: all, but for held-out rows past the end."""
        if self._split == "train":
            return np.ones(len(indices), bool)
        return np.asarray(indices) < self.num_rows

    def examples(self, indices: np.ndarray) -> np.ndarray:
        """Which example each row of the order is, 0 .. num_rows - 1 through the sources."""
        return self._order.examples(indices)

    def counts(self, indices: np.ndarray) -> Mapping[str, int]:
        """What the host counts of these rows for `train.measures`."""
        return {}

    def score(self, indices: np.ndarray, outputs: Any) -> Mapping[str, float]:
        """Measures of `train.objective.Sums.outputs` of these rows of the order, which there are,
        and that are no sums."""
        return {}

    def show(self, indices: np.ndarray, outputs: Any) -> list[str]:
        """Some of these rows with what the model says of them, in lines."""
        return []

    def confusion(
        self, indices: np.ndarray, outputs: Any
    ) -> tuple[Sequence[str], np.ndarray] | None:
        """Names of labels, and how often each, by row, was taken for each, by column; None if the
        rows have no labels."""
        return None

    def origin(self, index: int) -> str:
        """Where a row comes from, as `SOURCE at PLACE`."""
        return f"examples at {self.examples(np.array([index]))[0]}"

    def describe(self) -> list[str]:
        """Lines that a run prints of its rows when it begins."""
        return [f"data: {self.num_rows:,} rows, each epoch"]

    def meta(self) -> dict[str, Any]:
        """What a checkpoint keeps of them."""
        return {"data_digest": self.digest}

    def check(self, model: Any) -> None:
        """Raise ValueError if a model of this config cannot be asked these rows."""
        if self.question and model.questions and self.question not in model.questions:
            raise UserError(
                f"data must ask for {' or '.join(model.questions)}, because model.kind={model.kind}"
                f" with model.head.kind={model.head.kind} answers that, but its rows ask for "
                f"{self.question}; try a preset for {self.question}, or "
                "another --model.head.kind"
            )
