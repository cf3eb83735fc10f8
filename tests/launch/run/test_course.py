import json

import pytest

from launch.run.course import Course
from train.config import BadNumbersConfig, TrainConfig
from train.guard.bad_numbers import Rollback

TRAIN = TrainConfig(
    steps=10, batch_size=8, bad_numbers=BadNumbersConfig(rollback_batches=2, most_rollbacks=2)
)


class CountedRows:
    """Rows that say their number where others say their file."""

    def origin(self, index: int) -> str:
        return f"{index // 10}.txt at {index}"


def test_the_rows_of_the_step_and_of_batches_after_it_are_left_out() -> None:
    course = Course().without(Rollback("bad", (16, 24)), TRAIN)
    assert course == Course(skipped=((16, 40),), rollbacks=1)
    # Positions 16 and after are rows 40 and after now; a batch of 12 begins at position 12.
    again = course.without(Rollback("bad", (12, 24)), TRAIN)
    assert again == Course(skipped=((12, 64),), rollbacks=2) and again.skipped_rows == 52
    kept = json.dumps(again.meta())
    assert json.dumps(Course(**json.loads(kept)).meta()) == kept
    with pytest.raises(ValueError, match=r"^bad, and the run must go back at most 2 times"):
        again.without(Rollback("bad", (40, 48)), TRAIN)


def test_rows_are_named_by_their_place_in_the_order_and_in_the_text() -> None:
    described = Course(skipped=((4, 90),)).describe(CountedRows(), 2, 8)  # pyright: ignore[reportArgumentType]
    assert described == (
        "data rows 2 to 3 and 90 to 93, from 0.txt at 2, 3, 9.txt at 90 and 3 more"
    )
