"""Which labels are taken for which, in words."""

import numpy as np

from launch.run.confusion import in_words


def test_the_commonest_confusions_are_named_in_80_columns() -> None:
    table = np.array([[9, 1, 0], [3, 5, 2], [0, 0, 7]])
    lines = in_words(["a" * 50, "b", "c"], table)
    first = "a" * 20
    assert lines == [
        f"b taken for {first}: 3 of 10",
        "b taken for c: 2 of 10",
        f"{first} taken for b: 1 of 10",
    ]
    assert max(map(len, lines)) <= 80
    assert in_words(["a", "b"], np.diag([3, 4])) == []
