"""Rotary positions (Su et al. 2021): pairs of channels of queries and keys turn with the place."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """How fast the channel pairs of a head turn."""

    head_dim: int
    theta: float
    """Base of the wavelengths."""
    scaling_factor: float = 1.0
    """Stretching of long wavelengths as in Llama 3.1; 1 is off."""

    def rates(self) -> Float[Array, "half"]:
        """Radians per position of each channel pair.

        With scaling_factor f, waves longer than 8192 tokens slow down by f, waves shorter than 2048
        stay, and those between are blended.
        """
        half = self.head_dim // 2
        rate = self.theta ** (-jnp.arange(half) / half)
        factor = self.scaling_factor
        if factor == 1.0:
            return rate
        turns = 8192 * rate / (2 * math.pi)
        keep = jnp.clip((turns - 1.0) / (4.0 - 1.0), 0.0, 1.0)
        return rate * (keep + (1.0 - keep) / factor)


def rotate(
    x: Float[Array, "B T N H"], positions: Int[Array, "B T"], rates: Float[Array, "half"]
) -> Float[Array, "B T N H"]:
    """Turn the channel pairs (i, i + H/2) of every head by position x rate, in float32."""
    angle = positions[:, :, None, None].astype(jnp.float32) * rates[None, None, None]
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
