"""Rotary positions (Su et al. 2021): pairs of channels of queries and keys turn with the place."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Rotation(NamedTuple):
    """How queries and keys turn with their places."""

    rates: Float[Array, "half"]
    """Radians per position of each channel pair, as of `model.attention.rates.rotary_rates`."""
    amplitude: Float[Array, ""] | None = None
    """What turned channels are multiplied by, as in YaRN; None is nothing."""


def rotate(
    x: Float[Array, "B T N H"], positions: Int[Array, "B T"], rotation: Rotation
) -> Float[Array, "B T N H"]:
    """Turn the channel pairs (i, i + half) of every head by position x rate, in float32; channels
    after the pairs stay."""
    rates, amplitude = rotation
    half = rates.shape[-1]
    angle = positions[:, :, None, None].astype(jnp.float32) * rates[None, None, None]
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    if amplitude is not None:
        sine, cosine = sine * amplitude, cosine * amplitude
    wide = x.astype(jnp.float32)
    first, second, rest = wide[..., :half], wide[..., half : 2 * half], wide[..., 2 * half :]
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    if rest.shape[-1]:
        turned.append(rest)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
