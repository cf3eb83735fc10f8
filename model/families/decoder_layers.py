"""What the layers of a decoder's stack differ in: how far they see, and how places turn."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from model.attention.mask import Mask
from model.attention.rates import rotary_rates
from model.attention.rotary import Rotation
from model.families.decoder_config import DecoderConfig


class Differing(NamedTuple):
    """By layer; None where layers do not differ."""

    windows: Int[Array, "L"] | None
    """Keys that a query sees."""
    rotations: Rotation | None
    """Stacked."""


class Layers(NamedTuple):
    """Of all layers."""

    mask: Mask
    rotation: Rotation | None
    """Where all layers have the same; None without RoPE."""
    differing: Differing

    def at(self, differing: Differing) -> tuple[Mask, Rotation | None]:
        """The mask and the rotation of one layer, from its slice of `differing`."""
        mask = dataclasses.replace(self.mask, layer_window=differing.windows)
        own = differing.rotations
        return mask, self.rotation if own is None else own


def layers_of(config: DecoderConfig, mask: Mask) -> Layers:
    """The layers of a stack whose tokens have the places of `mask`."""
    wide, turned = np.array(config.global_layers), np.array(config.rotated_layers)
    windows = None
    if config.window is not None and wide.any():
        # Not max_length: without learned positions, decoding may go beyond it.
        windows = jnp.where(wide, jnp.iinfo(jnp.int32).max, config.window)
    if config.positions != "rotary":
        return Layers(mask, None, Differing(windows, None))
    channels, theta = config.turned_channels, config.local_rope_theta
    common = rotary_rates(channels, config.rope_theta, config.rope_scaling)
    local = common if theta is None else rotary_rates(channels, theta)
    stretched = turned & (wide | (theta is None))
    rates = np.where(turned[:, None], np.where(wide[:, None], common, local), np.float32(0))
    amplitude = config.rope_scaling.amplitude
    amplitudes = np.where(stretched, amplitude, 1.0).astype(np.float32)
    if (rates == common).all() and (amplitudes == amplitudes[0]).all():
        shared = None if amplitude == 1 else jnp.float32(amplitude)
        return Layers(mask, Rotation(jnp.asarray(common), shared), Differing(windows, None))
    each = None if amplitude == 1 else jnp.asarray(amplitudes)
    return Layers(mask, None, Differing(windows, Rotation(jnp.asarray(rates), each)))
