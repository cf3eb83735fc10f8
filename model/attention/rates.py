"""How fast the channel pairs of a head turn with the place (Su et al. 2021), stretched for rows
longer than those of training or not. Imports no jax."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from model.families.rope_scaling import RopeScaling

Rates = Float[np.ndarray, "half"]


def rotary_rates(channels: int, theta: float, scaling: RopeScaling | None = None) -> Rates:
    """Radians per position of each of channels / 2 pairs, float32; `theta` is the base of the
    wavelengths, in tokens over 2 pi."""
    half = channels // 2
    rate = theta ** (-np.arange(half) / half)
    if scaling is not None and scaling.kind != "none":
        kept = KEPT[scaling.kind](rate, theta, scaling)
        rate = rate * (kept + (1.0 - kept) / scaling.factor)
    return rate.astype(np.float32)


def none_kept(rate: Rates, theta: float, scaling: RopeScaling) -> Rates:
    return np.zeros_like(rate)


def kept_by_turns(rate: Rates, theta: float, scaling: RopeScaling) -> Rates:
    """As Llama 3.1 has it: in proportion to the turns over `trained_length`."""
    turns = scaling.trained_length * rate / (2 * math.pi)
    return np.clip((turns - scaling.slowest) / (scaling.fast - scaling.slowest), 0.0, 1.0)


def kept_by_channel(rate: Rates, theta: float, scaling: RopeScaling) -> Rates:
    """As YaRN has it: in proportion to the number of the pair, between whole numbers."""
    half = len(rate)

    def pair(turns: float) -> float:
        """Number of the pair that turns so often."""
        waves = scaling.trained_length / (turns * 2 * math.pi)
        return half * math.log(waves) / math.log(theta)

    first = max(0, math.floor(pair(scaling.fast)))
    last = min(2 * half - 1, math.ceil(pair(scaling.slowest)))
    # Equal ends would divide by 0.
    return 1.0 - np.clip((np.arange(half) - first) / max(last - first, 0.001), 0.0, 1.0)


KEPT: dict[str, Callable[[Rates, float, RopeScaling], Rates]] = {
    "linear": none_kept,
    "llama3": kept_by_turns,
    "yarn": kept_by_channel,
}
"""Share of each rate that is not stretched, by the kind of scaling."""
