"""The blocks of convolutional networks, by name."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from data.errors import UserError
from model.channel_norm import channel_norm
from model.convolution import Convolution, Depthwise, SlidingWindow, along_channels, at_each_place
from model.drop_path import drop_path
from model.families.convnet_config import ConvnetConfig
from model.mlp import ACTIVATIONS, Mlp
from model.weights import param

declare = functools.partial(param, in_block=True)


class BlockSizes(NamedTuple):
    """The sizes of a block, and how often it is left out in training."""

    inputs: int
    outputs: int
    stride: int
    kernel: int
    expansion: int
    rate: float


class NormedConvolution(nnx.Module):
    """A convolution, its norm and, if there is to be one, the non-linearity."""

    def __init__(
        self,
        config: ConvnetConfig,
        convolution: Convolution | Depthwise,
        channels: int,
        *,
        active: bool = True,
        start: float = 1.0,
    ):
        """`start` is the initial scale of a norm of groups."""
        self.convolution = convolution
        self.norm = norm(config, channels, start=start)
        self.activation = config.activation if active else None

    def __call__(self, x: Float[Array, "B *places I"]) -> Float[Array, "B *out O"]:
        y = self.norm(self.convolution(x))
        return y if self.activation is None else ACTIVATIONS[self.activation](y)


def norm(config: ConvnetConfig, channels: int, *, start: float = 1.0) -> nnx.Module:
    """A norm as the config asks for."""
    return channel_norm(
        declare,
        channels,
        kind=config.norm,
        groups=config.groups,
        epsilon=config.norm_epsilon,
        start=start,
    )


def normed(
    config: ConvnetConfig,
    key: PRNGKeyArray,
    inputs: int,
    outputs: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    active: bool = True,
    start: float = 1.0,
) -> NormedConvolution:
    """A convolution over all channels with its norm."""
    window = SlidingWindow(config.dimensions, kernel, stride, config.padding)
    backend = config.convolutions
    convolution = Convolution(declare, key, inputs, outputs, window, backend=backend)
    return NormedConvolution(config, convolution, outputs, active=active, start=start)


class PlainBlock(nnx.Module):
    """A convolution, a norm and a non-linearity, as in the networks of Wang et al. 2017."""

    def __init__(self, config: ConvnetConfig, key: PRNGKeyArray, sizes: BlockSizes):
        self.only = normed(
            config,
            key,
            sizes.inputs,
            sizes.outputs,
            kernel=sizes.kernel,
            stride=sizes.stride,
        )

    def __call__(
        self, x: Float[Array, "B *places I"], key: PRNGKeyArray | None
    ) -> Float[Array, "B *out O"]:
        return self.only(x)


class ResidualBlock(nnx.Module):
    """Convolutions around which the input is added, through one of its own where the shape changes
    (He et al. 2016): two of equal width, or of a bottleneck a narrow one between two of a place."""

    def __init__(self, config: ConvnetConfig, key: PRNGKeyArray, sizes: BlockSizes):
        wide, self.rate, self.activation = sizes.outputs, sizes.rate, config.activation
        narrow = wide // sizes.expansion
        if wide % sizes.expansion:
            raise UserError(
                f"model.expansions of {sizes.expansion} must divide model.channels of {wide}, "
                "because the middle of a bottleneck is that much narrower; try multiples of it"
            )
        middle = (narrow, sizes.kernel, sizes.stride)
        rows = {
            "basic": [middle, (wide, sizes.kernel, 1)],
            "bottleneck": [(narrow, 1, 1), middle, (wide, 1, 1)],
        }[config.block]
        keys = jax.random.split(key, len(rows) + 1)
        read, branch = sizes.inputs, []
        for number, (outputs, kernel, stride) in enumerate(rows):
            last = number == len(rows) - 1
            # A branch whose last norm begins at 0 adds nothing at first (Goyal et al. 2017).
            start = 0.0 if last else 1.0
            branch.append(
                normed(
                    config,
                    keys[number],
                    read,
                    outputs,
                    kernel=kernel,
                    stride=stride,
                    active=not last,
                    start=start,
                )
            )
            read = outputs
        self.branch = nnx.List(branch)
        other = sizes.stride > 1 or sizes.inputs != wide
        self.shortcut = (
            normed(config, keys[-1], sizes.inputs, wide, stride=sizes.stride, active=False)
            if other
            else None
        )

    def __call__(
        self, x: Float[Array, "B *places I"], key: PRNGKeyArray | None
    ) -> Float[Array, "B *out O"]:
        y = x
        for part in self.branch:
            y = part(y)
        x = x if self.shortcut is None else self.shortcut(x)
        return ACTIVATIONS[self.activation](x + drop_path(y, self.rate, key))


class ConvNeXtBlock(nnx.Module):
    """A depthwise convolution, a norm and a feed-forward layer of each place, added to the input
    (Liu et al. 2022); where there are to be fewer places, a norm and a convolution of patches come
    first."""

    def __init__(self, config: ConvnetConfig, key: PRNGKeyArray, sizes: BlockSizes):
        entry, depthwise, mlp = jax.random.split(key, 3)
        C, n, self.rate = sizes.outputs, config.dimensions, sizes.rate
        changed = sizes.stride > 1 or sizes.inputs != C
        patches = SlidingWindow(n, sizes.stride, sizes.stride, "none")
        way = {"backend": config.convolutions, "bias": True}
        self.entry_norm = norm(config, sizes.inputs) if changed else None
        self.entry = (
            Convolution(declare, entry, sizes.inputs, C, patches, **way) if changed else None
        )
        window = SlidingWindow(n, sizes.kernel, padding=config.padding)
        self.depthwise = Depthwise(declare, depthwise, C, window, **way)
        self.norm = norm(config, C)
        self.mlp = Mlp(
            declare,
            mlp,
            C,
            sizes.expansion * C,
            activation=config.activation,
            gated=False,
            bias=True,
            std=(2 / C) ** 0.5,
            residual_std=(1 / (sizes.expansion * C)) ** 0.5,
        )
        start = jax.nn.initializers.constant(config.layer_scale)
        self.scale = declare(None, (C,), (None,), init=start) if config.layer_scale else None

    def __call__(
        self, x: Float[Array, "B *places I"], key: PRNGKeyArray | None
    ) -> Float[Array, "B *out O"]:
        if self.entry is not None and self.entry_norm is not None:
            x = self.entry(self.entry_norm(x))
        y = self.norm(self.depthwise(x))
        y = self.mlp(y, functools.partial(at_each_place, backend=self.depthwise.backend))
        if self.scale is not None:
            y = y * along_channels(self.scale[...].astype(y.dtype), y)
        return x + drop_path(y, self.rate, key)


class InvertedBlock(nnx.Module):
    """More channels, a depthwise convolution of them, and fewer again, added to the input where it
    has that shape (Sandler et al. 2018); without squeeze and excitation, as EfficientNet-Lite."""

    def __init__(self, config: ConvnetConfig, key: PRNGKeyArray, sizes: BlockSizes):
        wide, narrow, middle = jax.random.split(key, 3)
        self.rate, inner = sizes.rate, sizes.inputs * sizes.expansion
        self.added = sizes.stride == 1 and sizes.inputs == sizes.outputs
        self.expand = normed(config, wide, sizes.inputs, inner) if sizes.expansion > 1 else None
        window = SlidingWindow(config.dimensions, sizes.kernel, sizes.stride, config.padding)
        depthwise = Depthwise(declare, middle, inner, window, backend=config.convolutions)
        self.middle = NormedConvolution(config, depthwise, inner)
        self.project = normed(config, narrow, inner, sizes.outputs, active=False)

    def __call__(
        self, x: Float[Array, "B *places I"], key: PRNGKeyArray | None
    ) -> Float[Array, "B *out O"]:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.middle(y))
        return x + drop_path(y, self.rate, key) if self.added else y


BLOCKS: Mapping[str, Callable[[ConvnetConfig, PRNGKeyArray, BlockSizes], nnx.Module]] = {
    "plain": PlainBlock,
    "basic": ResidualBlock,
    "bottleneck": ResidualBlock,
    "convnext": ConvNeXtBlock,
    "inverted": InvertedBlock,
}
"""By `ConvnetConfig.block`."""
