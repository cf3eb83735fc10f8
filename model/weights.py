"""Weights: `param` declares each once; counts, layouts, bytes and rates are read from that.

A declaration holds for one layer; a stack of layers puts a dimension before it.
"""

import functools
import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, cast

import jax
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, PRNGKeyArray

from data.errors import UserError
from model.families.family import FamilyConfig
from model.parametrization import STANDARD, Scaling
from model.sharding import (
    MAY_STAY_WHOLE,
    MESH_AXES,
    check_divisible,
    next_cut,
    spec,
    uncut,
)

Declare = Callable[..., nnx.Param[Array]]
"""`param`, with the arguments that all weights of a part share given by `functools.partial`."""


LISTING = ContextVar("LISTING", default=False)
"""Whether weights are declared to be listed: tracing what draws them would take most of the time.
"""


def param(
    key: PRNGKeyArray | None,
    shape: tuple[int, ...],
    logical: tuple[str | None, ...],
    *,
    init: nnx.Initializer,
    decay: bool = False,
    fan_in: tuple[int, ...] = (),
    fan_out: tuple[int, ...] = (),
    window: tuple[int, ...] = (),
    in_block: bool = False,
    scaling: Scaling = STANDARD,
) -> nnx.Param[Array]:
    """Declare a float32 weight once, sharded over the current mesh.

    `shape` and `logical` leave out the stacked layer dimension, and so do the dimension numbers
    `fan_in` and `fan_out`, which say what the weight sums over and what it produces, and `window`,
    which are those of `fan_in` that a convolution slides over. `decay` says whether weight decay
    applies, `in_block` whether the weight acts on a residual branch, of which there are more in a
    deeper model, and `scaling` how its rate and gradient change with the model's shape.
    Optimizers, counts and plans read the declaration from the Param. Raises ValueError when the
    mesh does not cut a dimension into equal shards.
    """
    for size, name in zip(shape, logical, strict=True):
        if name:
            field = f"dimension {name!r} of a weight of shape {shape}"
            check_divisible(field, size, name, str(next_cut(size, name)))
    initial = jax.nn.initializers.zeros if LISTING.get() else init
    value = initial(cast(Array, key), shape, out_sharding=spec(*logical))
    return nnx.Param(
        value,
        decay=decay,
        fan_in=fan_in,
        fan_out=fan_out,
        window=window,
        in_block=in_block,
        logical=logical,
        rate_factor=scaling.rate(between_widths=bool(fan_in and fan_out), in_block=in_block),
        gradient_factor=scaling.gradient(in_block=in_block),
    )


class Weight(NamedTuple):
    """A declared weight."""

    name: str
    """Its path in the model, as in `blocks/mlp/w_up`."""
    shape: tuple[int, ...]
    """Of one layer."""
    logical: tuple[str | None, ...]
    layers: int
    """Length of the stacked dimension; 1 if there is none."""
    stacked: bool
    fan_in: tuple[int, ...]
    fan_out: tuple[int, ...]
    window: tuple[int, ...]
    layout: PartitionSpec
    """On the mesh it was listed under, with the stacked dimension."""
    device_size: int
    """Elements on each device of that mesh, over all layers."""

    @property
    def size(self) -> int:
        """Elements, over all layers."""
        return self.layers * math.prod(self.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether it multiplies one width into another, as tables and vectors do not."""
        return bool(self.fan_in and self.fan_out)

    @property
    def is_table(self) -> bool:
        """Whether its rows are looked up, or scored against."""
        return bool(self.fan_out) and not self.fan_in

    def channels(self, dimensions: tuple[int, ...]) -> int:
        """Product of those of its dimensions."""
        return math.prod(self.shape[d] for d in dimensions)

    def local(self, sizes: Mapping[str, int], axis: str) -> int | float:
        """Elements of one layer that a chip holds when only that mesh axis cuts."""
        return math.prod(
            _share(size, name, sizes.get(axis, 1) if name and axis in MESH_AXES[name] else 1)
            for size, name in zip(self.shape, self.logical, strict=True)
        )


def _share(size: int, logical: str | None, shards: int) -> int | float:
    """Of a dimension; what cannot be cut evenly stays whole, or is a fraction if it must be cut."""
    if size % shards == 0:
        return size // shards
    return size if logical in MAY_STAY_WHOLE else size / shards


def weights(model: Any) -> list[Weight]:
    """Every weight of a model, or of its shapes, in the order of their names."""
    leaves = jax.tree_util.tree_leaves_with_path(
        model, is_leaf=lambda node: isinstance(node, nnx.Param)
    )
    return [_weight(jax.tree_util.keystr(p, simple=True, separator="/"), w) for p, w in leaves]


def _weight(name: str, declared: nnx.Param[Array]) -> Weight:
    metadata = declared.get_metadata()
    if "logical" not in metadata:
        raise UserError(
            f"weight {name} must be declared by `model.weights.param`, because layout, decay and "
            "rate are read from that; try it in place of `nnx.Param`, and the layers of `model` in "
            "place of Flax's"
        )
    stacked = declared.ndim > len(metadata["logical"])
    return Weight(
        name=name,
        shape=declared.shape[stacked:],
        logical=metadata["logical"],
        layers=declared.shape[0] if stacked else 1,
        stacked=stacked,
        fan_in=metadata["fan_in"],
        fan_out=metadata["fan_out"],
        window=metadata["window"],
        layout=declared.sharding.spec,
        device_size=math.prod(declared.sharding.shard_shape(declared.shape)),
    )


@functools.lru_cache(maxsize=4096)
def shapes_of(config: FamilyConfig) -> Any:
    """The network that a family builds, uncut and as shapes, by tracing it: no device is asked for
    anything."""
    with uncut():
        key = jax.eval_shape(jax.random.key, 0)
        listing = LISTING.set(True)
        try:
            return jax.eval_shape(config.build, key)
        finally:
            LISTING.reset(listing)


@functools.lru_cache(maxsize=4096)
def weights_of(config: FamilyConfig) -> tuple[Weight, ...]:
    """The weights that a family declares."""
    return tuple(weights(shapes_of(config)))
