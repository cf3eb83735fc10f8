"""Rotary positions (Su et al. 2021): pairs of channels of queries and keys turn with the place."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from model.families.rope_scaling import RopeScaling


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """How fast the channel pairs of a head turn."""

    channels: int
    """Of a head, how many turn."""
    theta: float
    """Base of the wavelengths."""
    scaling: RopeScaling = RopeScaling()  # noqa: RUF009 - frozen

    def rates(self) -> Float[Array, "half"]:
        """Radians per position of each channel pair."""
        half = self.channels // 2
        rate = self.theta ** (-jnp.arange(half) / half)
        if self.scaling.kind == "none":
            return rate
        kept = KEPT[self.scaling.kind](self, rate)
        return rate * (kept + (1.0 - kept) / self.scaling.factor)


def none_kept(rotary: Rotary, rate: Float[Array, "half"]) -> Float[Array, "half"]:
    return jnp.zeros_like(rate)


def kept_by_turns(rotary: Rotary, rate: Float[Array, "half"]) -> Float[Array, "half"]:
    """As Llama 3.1 has it: in proportion to the turns over `trained_length`."""
    scaling = rotary.scaling
    turns = scaling.trained_length * rate / (2 * math.pi)
    return jnp.clip((turns - scaling.slowest) / (scaling.fast - scaling.slowest), 0.0, 1.0)


def kept_by_channel(rotary: Rotary, rate: Float[Array, "half"]) -> Float[Array, "half"]:
    """As YaRN has it: in proportion to the number of the pair, between whole numbers."""
    scaling, half = rotary.scaling, len(rate)

    def pair(turns: float) -> float:
        """Number of the pair that turns so often."""
        waves = scaling.trained_length / (turns * 2 * math.pi)
        return half * math.log(waves) / math.log(rotary.theta)

    first = max(0, math.floor(pair(scaling.fast)))
    last = min(rotary.channels - 1, math.ceil(pair(scaling.slowest)))
    # Equal ends would divide by 0.
    return 1.0 - jnp.clip((jnp.arange(half) - first) / max(last - first, 0.001), 0.0, 1.0)


KEPT: dict[str, Callable[[Rotary, Float[Array, "half"]], Float[Array, "half"]]] = {
    "linear": none_kept,
    "llama3": kept_by_turns,
    "yarn": kept_by_channel,
}
"""Share of each rate that is not stretched, by the kind of scaling."""


def rotate(
    x: Float[Array, "B T N H"], positions: Int[Array, "B T"], rates: Float[Array, "half"]
) -> Float[Array, "B T N H"]:
    """Turn the channel pairs (i, i + half) of every head by position x rate, in float32; channels
    after the pairs stay."""
    half = rates.shape[-1]
    angle = positions[:, :, None, None].astype(jnp.float32) * rates[None, None, None]
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    wide = x.astype(jnp.float32)
    first, second, rest = wide[..., :half], wide[..., half : 2 * half], wide[..., 2 * half :]
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    if rest.shape[-1]:
        turned.append(rest)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
