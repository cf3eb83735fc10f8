"""Norms of convolutional networks: by groups of channels, by place, or folded into numbers."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from data.errors import UserError
from model.convolution import along_channels
from model.layers import Norm
from model.weights import Declare


class GroupNorm(nnx.Module):
    """Norm of each image over its places and a group of channels (Wu & He 2018), computed in
    float32: what is in the batch beside it does not matter."""

    def __init__(
        self, declare: Declare, channels: int, *, groups: int, epsilon: float, start: float
    ):
        """`start` is the initial scale."""
        if channels % groups:
            raise UserError(
                f"model.groups={groups} must divide the {channels} channels of every norm, because "
                f"each group has as many; try --model.groups {math.gcd(channels, groups)}"
            )
        self.groups, self.epsilon = groups, epsilon
        init = jax.nn.initializers.constant(start)
        self.scale = declare(None, (channels,), (None,), init=init)
        self.bias = declare(None, (channels,), (None,), init=jax.nn.initializers.zeros)

    def __call__(self, x: Float[Array, "B *places C"]) -> Float[Array, "B *places C"]:
        y = x.astype(jnp.float32)
        y = y - self._mean(y)
        y = y * jax.lax.rsqrt(self._mean(jnp.square(y)) + self.epsilon)
        y = y * along_channels(self.scale[...], y) + along_channels(self.bias[...], y)
        return y.astype(x.dtype)

    def _mean(self, x: Float[Array, "B *places C"]) -> Float[Array, "B *single C"]:
        """The mean of each group, of each of its channels: over places first, as few numbers are
        then left to be put into groups."""
        means = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)), keepdims=True)
        grouped = means.reshape(*means.shape[:-1], self.groups, -1)
        mean = jnp.mean(grouped, axis=-1, keepdims=True)
        return jnp.broadcast_to(mean, grouped.shape).reshape(means.shape)


class FoldedNorm(nnx.Module):
    """A scale and a bias of each channel that are not trained: what a BatchNorm (Ioffe & Szegedy
    2015) computes once its statistics stand."""

    def __init__(self, declare: Declare, channels: int):
        self.scale = declare(None, (channels,), (None,), init=jax.nn.initializers.ones)
        self.bias = declare(None, (channels,), (None,), init=jax.nn.initializers.zeros)

    def __call__(self, x: Float[Array, "B *places C"]) -> Float[Array, "B *places C"]:
        scale, bias = (jax.lax.stop_gradient(v[...]) for v in (self.scale, self.bias))
        y = x.astype(jnp.float32) * along_channels(scale, x) + along_channels(bias, x)
        return y.astype(x.dtype)


def channel_norm(
    declare: Declare, channels: int, *, kind: str, groups: int, epsilon: float, start: float = 1.0
) -> nnx.Module:
    """The norm of that kind: `group`, `layer` (of each place) or `affine`; `start` is the initial
    scale of groups."""
    kinds = {
        "group": lambda: GroupNorm(declare, channels, groups=groups, epsilon=epsilon, start=start),
        "layer": lambda: Norm(declare, (channels,), centred=True, bias=True, epsilon=epsilon),
        "affine": lambda: FoldedNorm(declare, channels),
    }
    return kinds[kind]()
