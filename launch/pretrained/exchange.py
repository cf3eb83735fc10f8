"""Large matrices onto a mesh: each device reads whole rows, of which files consist, and the columns
of them that it has no use for are exchanged between devices.

The bytes of a column lie all over a file: a device that read its own columns would read nearly all
of it.
"""

import functools
import math
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from launch.pretrained.match import TensorPlace
from launch.pretrained.read import Index, count_not_finite, require_finite

LARGE = 16 << 20
"""Elements of a weight from which a program is compiled for it."""
GROUP = 8 << 20
"""Elements that a device takes at once, unless one layer of a matrix has more."""
AHEAD = 2
"""Groups that are read, each by a thread of its own, while devices take another."""
Axes = tuple[str, ...]
Reader = Callable[[slice, slice], np.ndarray]
"""Rows of layers, [layers, rows, columns]."""


class RowPart(NamedTuple):
    """What a device reads of a group of layers."""

    numbers: np.ndarray
    """[layers, rows, columns]."""
    wrong: np.ndarray
    """How many are not finite, of each layer."""

    @classmethod
    def of(cls, numbers: np.ndarray) -> "RowPart":
        return cls(numbers, np.array([count_not_finite(layer) for layer in numbers], np.int32))


class RowLayout(NamedTuple):
    """How a matrix lies in its files, and which mesh axes cut it."""

    rows: int
    columns: int
    row_axes: Axes
    column_axes: Axes
    outputs_first: bool
    """Whether rows are of what the weight produces, which is last in the weight itself."""
    group: int
    """Layers that are taken at once."""
    blocks: int
    """Into how many parts the rows of a device are cut, which are taken one after the other."""

    @property
    def axes(self) -> Axes:
        """Those that cut the rows while they are read."""
        return self.row_axes + self.column_axes


def row_layout(
    place: TensorPlace, spec: PartitionSpec, sizes: Mapping[str, int]
) -> RowLayout | None:
    """The layout of a weight with that spec on a mesh of those sizes; None for what is read as it
    is cut: a vector, a small weight, one whose rows are not the same number on every device."""
    weight = place.weight
    if not (weight.is_matrix or weight.is_table) or weight.size < LARGE:
        return None
    cuts = [_axes(entry) for entry in spec] + [()] * (len(weight.shape) + 1)
    cuts = cuts[weight.stacked :]
    if weight.is_table:
        first, second = (weight.shape[0], cuts[0]), (weight.shape[1], cuts[1])
    else:
        first = weight.channels(weight.fan_in), cuts[0]
        second = weight.channels(weight.fan_out), cuts[len(weight.fan_in)]
    outputs_first = weight.is_matrix and not place.inputs_first
    (rows, row_axes), (columns, column_axes) = (second, first) if outputs_first else (first, second)
    devices = math.prod(sizes[axis] for axis in row_axes + column_axes)
    if rows % devices:
        return None
    share = rows // devices
    group = max((n for n in _divisors(weight.layers) if n * share * columns <= GROUP), default=1)
    blocks = 1
    if weight.is_table and not weight.stacked:
        blocks = next((n for n in _divisors(share) if share // n * columns <= GROUP), share)
    return RowLayout(rows, columns, row_axes, column_axes, outputs_first, group, blocks)


def fill(array: jax.Array, layout: RowLayout, place: TensorPlace, read: Reader) -> jax.Array:
    """The array with what is read in place of its own numbers; it is given up.

    The next layers are read while devices exchange these. Raises ValueError, the same on all
    processes, for numbers that are not finite.
    """
    cut = RowShares(array.sharding, layout)
    layers = range(0, place.weight.layers, layout.group)
    groups = [RowGroup(slice(n, n + layout.group), b) for n in layers for b in range(layout.blocks)]

    def parts(group: RowGroup) -> dict[int, RowPart]:
        return {n: RowPart.of(read(group.layers, cut.rows(n, group.block))) for n in cut.own}

    with ThreadPoolExecutor(AHEAD) as pool:
        coming = deque(pool.submit(parts, group) for group in groups[:AHEAD])
        for number, group in enumerate(groups, AHEAD):
            numbers, counts = cut.arrays(coming.popleft().result())
            coming.extend(pool.submit(parts, each) for each in groups[number : number + 1])
            first = group.block * cut.height if layout.blocks > 1 else group.layers.start
            array, wrong = _exchanged(array, numbers, counts, np.int32(first), layout=layout)
            for tensor, count in zip(place.tensors[group.layers], np.asarray(wrong), strict=True):
                require_finite(tensor, int(count))
    return array


class RowGroup(NamedTuple):
    """What is taken at once: layers, and which block of the rows that each device has."""

    layers: slice
    block: int


class RowShares:
    """How devices share the rows of layers.

    height: rows of a block of one; own: the numbers of the shares of this process's devices.
    """

    def __init__(self, sharding: Any, layout: RowLayout) -> None:
        self._layout, mesh, axes = layout, sharding.mesh, layout.axes or None
        self._devices = math.prod(mesh.shape[axis] for axis in layout.axes)
        self.height = layout.rows // self._devices // layout.blocks
        self._counts = NamedSharding(mesh, PartitionSpec(axes, None))
        turned = layout.outputs_first
        self._rows = NamedSharding(mesh, PartitionSpec(*_turned((None, axes, None), turned)))
        indices = self._counts.addressable_devices_indices_map((self._devices, layout.group))
        self.own = {index[0].start or 0 for index in indices.values() if index is not None}

    def rows(self, share: int, block: int) -> slice:
        """The rows of a block of a share."""
        first = (share * self._layout.blocks + block) * self.height
        return slice(first, first + self.height)

    def arrays(self, parts: Mapping[int, RowPart]) -> tuple[jax.Array, jax.Array]:
        """The numbers of all devices, [layers, rows, columns] or with the last two turned, and the
        counts of those that are not finite, [devices, layers]."""
        layout, turned = self._layout, self._layout.outputs_first

        def numbers(index: Index | None) -> np.ndarray:
            assert index is not None
            part = parts[(_turned(index, turned)[1].start or 0) // self.height].numbers
            # The order of numbers is changed on the way to the device.
            return part.swapaxes(1, 2) if turned else part

        def counts(index: Index | None) -> np.ndarray:
            assert index is not None
            return parts[index[0].start or 0].wrong[None]

        shape = (layout.group, self._devices * self.height, layout.columns)
        return (
            jax.make_array_from_callback(_turned(shape, turned), self._rows, numbers),
            jax.make_array_from_callback((self._devices, layout.group), self._counts, counts),
        )


def _turned(values: tuple[Any, ...], turned: bool) -> tuple[Any, ...]:
    layers, rows, columns = values
    return (layers, columns, rows) if turned else values


@functools.partial(jax.jit, donate_argnums=0, static_argnames="layout")
def _exchanged(
    array: jax.Array, part: jax.Array, wrong: jax.Array, first: Any, *, layout: RowLayout
) -> tuple[jax.Array, jax.Array]:
    """The array with a group of layers, and of each layer how many numbers are not finite."""

    def own(
        array: jax.Array, part: jax.Array, wrong: jax.Array, first: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        wrong = wrong[0]
        if layout.axes:
            wrong = jax.lax.psum(wrong, layout.axes)
        if layout.column_axes:
            columns, rows = (1, 2) if layout.outputs_first else (2, 1)
            part = jax.lax.all_to_all(part, layout.column_axes, columns, rows, tiled=True)
        part = part.astype(jnp.float32)
        if part.size == array.size:
            return part.reshape(array.shape), wrong
        if layout.blocks > 1:
            # Of each device that had some of these rows, those of its block.
            height = part.shape[1] // sources
            part = part.reshape(sources, height, -1)
            whole = array.reshape(sources, -1, array.shape[-1])
            whole = jax.lax.dynamic_update_slice_in_dim(whole, part, first, 1)
            return whole.reshape(array.shape), wrong
        part = part.reshape(layout.group, *array.shape[1:])
        return jax.lax.dynamic_update_slice_in_dim(array, part, first, 0), wrong

    sizes = jax.typeof(array).sharding.mesh.shape
    sources = math.prod(sizes[axis] for axis in layout.column_axes)
    specs = [jax.typeof(each).sharding.spec for each in (array, part, wrong)]
    none = PartitionSpec()
    return jax.shard_map(own, in_specs=(*specs, none), out_specs=(specs[0], none))(
        array, part, wrong, first
    )


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _axes(entry: Any) -> Axes:
    return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)
