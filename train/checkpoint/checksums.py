"""Sums over the bits of what each device holds, made where it lies: no array moves for them."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, UInt32

from train.checkpoint.tree import named_leaves, placed


def bit_sums(tree: object) -> UInt32[Array, "leaves devices"]:
    """The sum modulo 2**32 of every leaf's shard on every device of the mesh; run it under jit.

    Leaves are of 32 bits, devices in the order of the mesh. Any one flipped bit changes a sum.
    What should be equal copies is read copy by copy: inside `shard_map` a device has its own only,
    and without the check of varying axes nothing takes one copy for another.
    """
    leaves = list(named_leaves(tree).values())
    specs = tuple(jax.typeof(leaf).sharding.spec for leaf in leaves)
    axes = jax.sharding.get_abstract_mesh().axis_names

    def own(*shards: Array) -> Array:
        bits = (jax.lax.bitcast_convert_type(shard, jnp.uint32) for shard in shards)
        return jnp.stack([jnp.sum(each, dtype=jnp.uint32) for each in bits])[:, None]

    out = PartitionSpec(None, axes)
    found = jax.shard_map(own, in_specs=specs, out_specs=out, check_vma=False)(*leaves)
    return jax.sharding.reshard(found, PartitionSpec())


def copies(tree: object) -> dict[str, list[list[int]]]:
    """For each leaf by name, the groups of devices (numbers in the mesh) that hold the same shard.

    Leaves are arrays or shapes with a sharding; groups of one device are left out.
    """
    place = {device: n for n, device in enumerate(jax.sharding.get_mesh().devices.flat)}
    found = {}
    for name, leaf in named_leaves(tree).items():
        held: dict[str, list[int]] = defaultdict(list)
        sharding = placed(leaf).sharding
        assert sharding is not None
        for device, index in sharding.devices_indices_map(leaf.shape).items():
            held[str(index)].append(place[device])
        found[name] = [sorted(group) for group in held.values() if len(group) > 1]
    return found


def odd_ones(sums: Sequence[int]) -> list[int]:
    """Positions that differ from what most hold; all of them if no value is held by more than half
    of them."""
    value, count = Counter(sums).most_common(1)[0]
    if 2 * count <= len(sums):
        return list(range(len(sums)))
    return [position for position, each in enumerate(sums) if each != value]


def shown(devices: Sequence[int]) -> str:
    """Devices of the mesh in words: `device 3 of process 1`."""
    every = jax.sharding.get_mesh().devices.flat
    return ", ".join(f"device {every[n].id} of process {every[n].process_index}" for n in devices)
