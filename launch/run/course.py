"""A run's course through the data: the rows it leaves out since it went back, and their names."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import UserError
from data.order import Ranges, in_words, joined, rows_at

if TYPE_CHECKING:
    from data.rows.rows import Rows
    from train.config import TrainConfig
    from train.guard.bad_numbers import Rollback

SHOWN_ORIGINS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course:
    """What a run left out of the training order, and how often it went back for it.

    Positions, such as `examples_seen`, count the rows that are not left out.
    """

    skipped: Ranges = ()
    rollbacks: int = 0

    def meta(self) -> dict[str, Any]:
        """What a checkpoint keeps of it; the fields, so that `Course(**meta)` is it again."""
        return {"skipped": self.skipped, "rollbacks": self.rollbacks}

    @property
    def skipped_rows(self) -> int:
        """Rows left out."""
        return sum(after - first for first, after in self.skipped)

    def describe(self, rows: "Rows", first: int, after: int) -> str:
        """The data rows at the positions from `first` up to `after`, and the documents that some
        begin in."""
        numbers = rows_at(np.arange(first, after), self.skipped)
        places: dict[str, list[str]] = {}
        for number in numbers[:SHOWN_ORIGINS].tolist():
            file, _, place = rows.origin(number).rpartition(" at ")
            places.setdefault(file, []).append(place)
        origins = ", ".join(f"{file} at {', '.join(there)}" for file, there in places.items())
        hidden = len(numbers) - SHOWN_ORIGINS
        more = f" and {hidden} more" if hidden > 0 else ""
        return f"data rows {in_words(numbers)}, from {origins}{more}"

    def without(self, bad: "Rollback", train: "TrainConfig") -> "Course":
        """The course without the rows of a bad step and of the batches after it.

        Raises ValueError if the run went back too often already.
        """
        most = train.bad_numbers.most_rollbacks
        if self.rollbacks >= most:
            raise UserError(
                f"{bad}, and the run must go back at most {most} times, because then more than "
                "single rows are at fault; try a new run with a lower "
                "--train.optimizer.learning-rate, or --resume with "
                f"--train.bad-numbers.most-rollbacks {2 * self.rollbacks + 1}"
            )
        first, after = bad.rows
        last = after - 1 + train.bad_numbers.rollback_batches * train.batch_size
        low, high = rows_at(np.array([first, last]), self.skipped).tolist()
        return Course(
            skipped=joined(self.skipped, low, high + 1),
            rollbacks=self.rollbacks + 1,
        )
