"""Looks for hardware that computes or keeps numbers wrongly, and says nothing: bit by bit."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, UInt32

from data.batch import Batch
from data.errors import UserError
from train.checkpoint.tree import named_leaves, placed
from train.loop import TrainStep
from train.state import TrainState
from train.step import Metrics

SHOWN = 3


class Replicas:
    """Compares the copies of each array of the state that several devices hold, where they lie."""

    def __init__(self, state: TrainState) -> None:
        """`state`: its arrays, or their shapes, on the current mesh. ValueError if no parameter has
        a copy."""
        self._groups = copies(state)
        if not any(copies(state.model).values()):
            raise UserError(
                "train.corruption.replicas=True must have copies to compare, because it looks for "
                "differences between them, but on this mesh no parameter lies on two devices; try "
                "--train.corruption.recompute, or --mesh.replica 2"
            )
        self._sums = jax.jit(bit_sums).lower(state).compile()

    def check(self, step: int, state: TrainState) -> None:
        """Raise ValueError, naming array and devices, if copies differ after `step`."""
        sums = jax.device_get(self._sums(state))
        bad = [
            f"{name} on {_shown([group[n] for n in outliers(values)])}"
            for (name, groups), row in zip(self._groups.items(), sums.tolist(), strict=True)
            for group in groups
            if len(set(values := [row[n] for n in group])) > 1
        ]
        if bad:
            raise UserError(
                f"copies of the state must be equal after step {step}, because all devices "
                f"make the same updates, but these are not what the others hold: "
                f"{_few(bad, '; ')}; the memory, the arithmetic or a link of such a device is at "
                "fault; every checkpoint was made while all copies were equal; "
                "try --resume without that host"
            )


class Recompute:
    """Makes a step beforehand, on a copy of the state, and compares what the step itself gives.

    Both are the same program, so every bit must be the same; there must be room for the copy.
    """

    def __init__(self, state: TrainState) -> None:
        """`state`: its arrays, or their shapes, on the current mesh."""
        self._names = list(named_leaves(state))
        self._copy = jax.jit(_copied).lower(state).compile()
        self._sums = jax.jit(bit_sums).lower(state).compile()

    def sums_after(
        self, train_step: TrainStep, state: TrainState, batch: Batch, *rest: Array
    ) -> np.ndarray:
        """Sums of the bits of what the step makes of `state`, which stays as it is."""
        again, _ = train_step(self._copy(state), batch, *rest)
        return jax.device_get(self._sums(again))

    def check(self, step: int, state: TrainState, expected: np.ndarray) -> None:
        """Raise ValueError, naming arrays, if the bits of `state` are not what was expected."""
        differ = (jax.device_get(self._sums(state)) != expected).any(axis=1)
        bad = [name for name, wrong in zip(self._names, differ, strict=True) if wrong]
        if bad:
            raise UserError(
                f"step {step} must give the same bits when it is made twice, because it is the "
                f"same program on the same numbers, but {_few(bad, ', ')} differ; a device "
                "computes or keeps numbers wrongly; try --resume on other devices, or on half "
                "of them, to find the one at fault"
            )


class CheckedStep:
    """A train step that checks itself every so many steps."""

    def __init__(
        self,
        train_step: TrainStep,
        step: int,
        *,
        every_steps: int,
        replicas: Replicas | None,
        recompute: Recompute | None,
    ) -> None:
        """`step`: steps made before the next one."""
        self._train_step = train_step
        self._step = step
        self._every = every_steps
        self._replicas = replicas
        self._recompute = recompute

    def __call__(
        self, state: TrainState, batch: Batch, rate: Array, ceiling: Array
    ) -> tuple[TrainState, Metrics]:
        self._step += 1
        due = self._step % self._every == 0
        expected = None
        if due and self._recompute:
            expected = self._recompute.sums_after(self._train_step, state, batch, rate, ceiling)
        state, metrics = self._train_step(state, batch, rate, ceiling)
        if self._recompute and expected is not None:
            self._recompute.check(self._step, state, expected)
        if due and self._replicas:
            self._replicas.check(self._step, state)
        return state, metrics


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
    sums = jax.shard_map(own, in_specs=specs, out_specs=out, check_vma=False)(*leaves)
    return jax.sharding.reshard(sums, PartitionSpec())


def copies(tree: object) -> dict[str, list[list[int]]]:
    """For each leaf by name, the groups of devices (numbers in the mesh) that hold the same shard.

    Leaves are arrays or shapes with a sharding; groups of one device are left out.
    """
    place = {device: n for n, device in enumerate(jax.sharding.get_mesh().devices.flat)}
    groups = {}
    for name, leaf in named_leaves(tree).items():
        holders: dict[str, list[int]] = defaultdict(list)
        sharding = placed(leaf).sharding
        assert sharding is not None
        for device, index in sharding.devices_indices_map(leaf.shape).items():
            holders[str(index)].append(place[device])
        groups[name] = [sorted(group) for group in holders.values() if len(group) > 1]
    return groups


def outliers(sums: Sequence[int]) -> list[int]:
    """Positions of the values that the majority does not have; all of them without a majority."""
    value, count = Counter(sums).most_common(1)[0]
    if 2 * count <= len(sums):
        return list(range(len(sums)))
    return [position for position, each in enumerate(sums) if each != value]


def _shown(devices: Sequence[int]) -> str:
    """Devices of the mesh in words: `device 3 of process 1`."""
    every = jax.sharding.get_mesh().devices.flat
    return ", ".join(f"device {every[n].id} of process {every[n].process_index}" for n in devices)


def _copied(state: TrainState) -> TrainState:
    return jax.tree.map(jnp.copy, state)


def _few(names: list[str], between: str) -> str:
    more = f" (and {len(names) - SHOWN} more)" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more
