"""Convolutional networks: a stem, stages of blocks, and a head over the last feature map."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from data.errors import UserError
from model.convolution import Convolution, SlidingWindow, flat, max_pool
from model.families.convnet_block import BLOCKS, BlockSizes, norm, normed
from model.families.convnet_config import ConvnetConfig
from model.heads import Head
from model.layers import Norm
from model.sharding import axis_size
from model.stack import rematerialized
from model.weights import param

HEAD_STD = 0.02
"""Standard deviation of the initial table."""


class PatchStem(nnx.Module):
    """A convolution of patches that do not overlap, and a norm (Liu et al. 2022)."""

    def __init__(self, config: ConvnetConfig, key: PRNGKeyArray):
        C, patch = config.stem_channels, config.stem_stride
        window = SlidingWindow(config.dimensions, patch, patch, "none")
        way = {"backend": config.convolutions, "bias": True}
        self.convolution = Convolution(param, key, config.input_channels, C, window, **way)
        self.norm = norm(config, C)

    def __call__(self, x: Float[Array, "B *places I"]) -> Float[Array, "B *out O"]:
        return self.norm(self.convolution(x))


class ConvolutionStem(nnx.Module):
    """A convolution with norm and non-linearity, and a max pool of what it gives if `pooled`."""

    def __init__(self, config: ConvnetConfig, key: PRNGKeyArray, *, pooled: bool = False):
        self.only = normed(
            config,
            key,
            config.input_channels,
            config.stem_channels,
            kernel=config.stem_kernel,
            stride=config.stem_stride,
        )
        self.pool = SlidingWindow(config.dimensions, 3, 2, config.padding) if pooled else None

    def __call__(self, x: Float[Array, "B *places I"]) -> Float[Array, "B *out O"]:
        x = self.only(x)
        return x if self.pool is None else max_pool(x, self.pool)


STEMS: Mapping[str, Callable[[ConvnetConfig, PRNGKeyArray], nnx.Module | None]] = {
    "none": lambda config, key: None,
    "convolution": ConvolutionStem,
    "pooled": functools.partial(ConvolutionStem, pooled=True),
    "patches": PatchStem,
}
"""By `ConvnetConfig.stem`."""


class ConvnetStage(nnx.Module):
    """Blocks, the first of which changes the shape."""

    def __init__(self, config: ConvnetConfig, keys: Array, rows: list[BlockSizes]):
        build = BLOCKS[config.block]
        self.blocks = nnx.List(
            [build(config, key, row) for key, row in zip(keys, rows, strict=True)]
        )


class Convnet(nnx.Module):
    """A convolutional network over the current mesh, of images or series.

    Parameters are float32 and are created sharded; call it under `jax.set_mesh`. prefix: places
    before those of the feature map, none.
    """

    prefix = 0

    def __init__(self, config: ConvnetConfig, key: PRNGKeyArray):
        require_whole_places()
        stem, blocks, last, head = jax.random.split(key, 4)
        self.config = config
        self.stem = STEMS[config.stem](config, stem)
        rows = block_sizes(config)
        keys = jax.random.split(blocks, config.depth)
        stages, first = [], 0
        for stage in config.stages:
            own = slice(first, first + stage.depth)
            stages.append(ConvnetStage(config, keys[own], rows[own]))
            first += stage.depth
        self.stages = nnx.List(stages)
        self.last = (
            normed(config, last, config.channels[-1], config.last_channels)
            if config.last_channels
            else None
        )
        asked, D = config.head, config.width
        self.task_head = Head(
            param,
            head,
            D,
            transform=asked.transform,
            activation=config.activation,
            norm=lambda: Norm(param, (D,), centred=True, bias=True, epsilon=config.head_epsilon),
            bias=True,
            std=HEAD_STD,
            outputs=asked.outputs,
            pooling=asked.pooling,
            rate=config.dropout,
        )

    def __call__(
        self, x: Float[Array, "B *places I"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "B P D"]:
        """The last feature map of images [B, H, W, C] or series [B, T, C], row by row. `key` is
        that of stochastic depth, None in evaluation."""
        config = self.config
        x = x.astype(jnp.dtype(config.dtype))
        x = x if self.stem is None else self.stem(x)
        blocks = [block for stage in self.stages for block in stage.blocks]
        keys = [None] * len(blocks) if key is None else jax.random.split(key, len(blocks))
        run = rematerialized(lambda block, x, key: block(x, key), config.remat)
        for block, own in zip(blocks, keys, strict=True):
            x = run(block, x, own)
        return flat(x if self.last is None else self.last(x))


def block_sizes(config: ConvnetConfig) -> list[BlockSizes]:
    """The sizes of all blocks, in order."""
    rows, read, last = [], config.first_channels, max(1, config.depth - 1)
    for stage in config.stages:
        for number in range(stage.depth):
            stride = 1 if number else stage.stride
            rate = config.drop_path * len(rows) / last
            sizes = (read, stage.channels, stride, stage.kernel, stage.expansion)
            rows.append(BlockSizes(*sizes, rate))
            read = stage.channels
    return rows


def require_whole_places() -> None:
    """Raise ValueError if the current mesh cuts the places of a row."""
    if (cuts := axis_size("length")) > 1:
        raise UserError(
            f"mesh.context={cuts} must be 1 for model.kind=convnet, because a convolution reads "
            "places on both sides of a cut; try --mesh.context 1 and a larger --mesh.fsdp"
        )
