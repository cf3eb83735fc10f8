"""How many of the T x T scores of causal rows each kernel of attention computes, as a share."""

import math
from collections.abc import Sequence

Windows = Sequence[tuple[int | None, int]]
"""Keys that a query sees at most, and in how many layers; None is all before it."""


def all_scores(windows: Windows, length: int, packed: bool) -> float:
    return 1.0


def blocked_scores(windows: Windows, length: int, packed: bool) -> float:
    """Ten of 4 x 4 blocks."""
    return 0.625 if length % 4 == 0 else 1.0


def cudnn_scores(windows: Windows, length: int, packed: bool) -> float:
    dense = all(window is None for window, layers in windows if layers)
    return 0.5 if dense and not packed else 1.0


def splash_scores(windows: Windows, length: int, packed: bool) -> float:
    """Blocks of 512 tokens at most that hold a key some query sees, on the average of layers."""
    padded = length + -length % 128
    size = math.gcd(padded, 512)
    number, depth = padded // size, sum(layers for _, layers in windows)

    def share(window: int) -> float:
        back = min(-(-(window - 1) // size), number - 1)
        return (number * (back + 1) - back * (back + 1) // 2) / number**2

    return sum(layers / depth * share(window or length) for window, layers in windows)
