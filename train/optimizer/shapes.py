"""Shapes of the learning rate after the warm-up, by name."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias


class Moment(NamedTuple):
    """An update after the warm-up, and what a shape knows of the run."""

    step: float
    """Updates before it, counted at the configured batch size."""
    last: int
    """Updates before the last one of the run."""
    warmup: int
    """Updates of the warm-up."""
    final: float
    """The learning rate at the end as a share of the peak."""
    decay: float
    """Updates over which `wsd` decays."""

    @property
    def done(self) -> float:
        """Share of the way from the peak to the last update."""
        peak = max(self.warmup - 1, 0)
        return min(1.0, (self.step - peak) / max(1, self.last - peak))


def constant(at: Moment) -> float:
    """The peak throughout."""
    return 1.0


def cosine(at: Moment) -> float:
    """Half a cosine from the peak to the final share (Loshchilov & Hutter 2017)."""
    return at.final + (1 - at.final) * 0.5 * (1 + math.cos(math.pi * at.done))


def linear(at: Moment) -> float:
    """A straight line from the peak to the final share."""
    return 1 - (1 - at.final) * at.done


def wsd(at: Moment) -> float:
    """Warm-up, stable, decay (Hu et al. 2024): a straight line over the last updates."""
    return 1 - (1 - at.final) * min(1.0, max(0.0, at.step - at.last + at.decay) / at.decay)


def inverse_sqrt(at: Moment) -> float:
    """1 / sqrt(step) (Vaswani et al. 2017)."""
    return math.sqrt(max(1, at.warmup) / max(1.0, at.step + 1))


SHAPES: dict[str, Callable[[Moment], float]] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "wsd": wsd,
    "inverse_sqrt": inverse_sqrt,
}
"""The share of the peak that the learning rate of an update is."""

if TYPE_CHECKING:
    Shape: TypeAlias = str  # type checkers take only choices that are spelt out
else:
    Shape = Literal[tuple(SHAPES)]
