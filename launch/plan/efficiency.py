"""How much of their peaks chips and networks give to a training step, as `tests.published`
fits it to published runs.
"""

from typing import NamedTuple

from train.chips import Chip


class Efficiency(NamedTuple):
    """Shares of peaks, between 0 and 1."""

    matmul: float
    """Of the peak of matrix products: what is lost between products is counted here too."""
    link: float
    """Of the bandwidth of fast links."""
    network: float
    """Of the bandwidth between slices or nodes."""
    overlap: float
    """Of the time of collectives that can begin early: what is hidden behind products."""


class Shared(NamedTuple):
    """What all chips of a platform have in common."""

    link: float
    network: float
    overlap: float


MATMUL: dict[str, float] = {
    "a100": 0.735,
    "h100": 0.619,
    "v4": 0.688,
    "v5e": 0.788,
    "v5p": 0.87,
    "v6e": 0.571,
}
SHARED: dict[str, Shared] = {
    "gpu": Shared(link=0.372, network=0.419, overlap=0.245),
    "tpu": Shared(link=0.724, network=0.198, overlap=0.549),
}
NEAREST = {"h200": "h100", "b200": "h100", "tpu7x": "v6e"}
"""Chips without a published run here, and the one before them, whose share they are given."""


def fitted_on(chip: Chip) -> str:
    """The chip whose published runs gave this chip's efficiency: itself, or the one before it."""
    return chip.name if chip.name in MATMUL else NEAREST[chip.name]


def efficiency(chip: Chip) -> Efficiency:
    """The shares of peaks that a step on this chip is predicted with."""
    return Efficiency(MATMUL[fitted_on(chip)], *SHARED[chip.platform])
