"""A training state of a few numbers, cut over a mesh of any shape."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import PartitionSpec


class Model(nnx.Module):
    def __init__(self, width: int) -> None:
        key = jax.random.key(0)
        spec = PartitionSpec("fsdp", "tensor")
        self.up = nnx.Param(jax.random.normal(key, (8, width), out_sharding=spec))
        self.bias = nnx.Param(jax.random.normal(key, (width,)).astype(jnp.bfloat16))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    step: jax.Array
    model: Model
    optimizer: optax.OptState
    average: Model | None


def init(width: int = 4) -> State:
    model = Model(width)
    params: Any = model
    optimizer = optax.adamw(1e-3).init(params)
    return State(step=jnp.int32(7), model=model, optimizer=optimizer, average=None)


def mesh(fsdp: int, tensor: int) -> jax.sharding.Mesh:
    devices = jax.devices()[: fsdp * tensor]
    return jax.make_mesh((fsdp, tensor), ("fsdp", "tensor"), devices=devices)
