"""Numbers as people read them."""

from collections.abc import Callable

import pytest

from train.report import numbers


@pytest.mark.parametrize(
    ("written", "value", "text"),
    [
        (numbers.short, 886_432, "886K"),
        (numbers.short, 999_950, "1M"),
        (numbers.short, 12, "12"),
        (numbers.power, 1.28e13, "1.28e13"),
        (numbers.power, 4e9, "4e9"),
        (numbers.power, 1e20, "1e20"),
        (numbers.constant, 0.29, "0.2900"),
        (numbers.constant, 1658.2, "1658"),
        (numbers.constant, 123456, "1.235e5"),
    ],
)
def test_numbers_are_written_plainly(
    written: Callable[[float], str], value: float, text: str
) -> None:
    assert written(value) == text
