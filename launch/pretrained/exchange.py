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
GROUP = 16 << 20
"""Elements of the layers that a device takes at once, unless one layer has more."""
AHEAD = 2
"""Groups that are read, each by a thread of its own, while devices take another."""
Axes = tuple[str, ...]
Reader = Callable[[slice, slice], np.ndarray]
"""Rows of layers, [layers, rows, columns]."""


class Part(NamedTuple):
    """What a device reads of a group of layers."""

    numbers: np.ndarray
    """[layers, rows, columns]."""
    wrong: np.ndarray
    """How many are not finite, of each layer."""

    @classmethod
    def of(cls, numbers: np.ndarray) -> "Part":
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
    layer = rows * columns // devices
    fit = [n for n in range(1, weight.layers + 1) if weight.layers % n == 0 and n * layer <= GROUP]
    return RowLayout(rows, columns, row_axes, column_axes, outputs_first, max(fit, default=1))


def fill(array: jax.Array, layout: RowLayout, place: TensorPlace, read: Reader) -> jax.Array:
    """The array with what is read in place of its own numbers; it is given up.

    The next layers are read while devices exchange these. Raises ValueError, the same on all
    processes, for numbers that are not finite.
    """
    cut = RowShares(array.sharding, layout)
    groups = [slice(n, n + layout.group) for n in range(0, place.weight.layers, layout.group)]

    def parts(layers: slice) -> dict[int, Part]:
        rows = {n: slice(n * cut.share, (n + 1) * cut.share) for n in cut.own}
        return {n: Part.of(read(layers, part)) for n, part in rows.items()}

    with ThreadPoolExecutor(AHEAD) as pool:
        coming = deque(pool.submit(parts, layers) for layers in groups[:AHEAD])
        for number, layers in enumerate(groups, AHEAD):
            numbers, counts = cut.arrays(coming.popleft().result())
            coming.extend(pool.submit(parts, each) for each in groups[number : number + 1])
            array, wrong = _exchanged(
                array, numbers, counts, jnp.int32(layers.start), layout=layout
            )
            for tensor, count in zip(place.tensors[layers], np.asarray(wrong), strict=True):
                require_finite(tensor, int(count))
    return array


class RowShares:
    """How devices share the rows of a group of layers.

    share: rows of a device; own: the numbers of the parts that those of this process have.
    """

    def __init__(self, sharding: Any, layout: RowLayout) -> None:
        self._layout, mesh, axes = layout, sharding.mesh, layout.axes or None
        self._devices = math.prod(mesh.shape[axis] for axis in layout.axes)
        self.share = layout.rows // self._devices
        self._counts = NamedSharding(mesh, PartitionSpec(axes, None))
        turned = layout.outputs_first
        self._rows = NamedSharding(mesh, PartitionSpec(*_turned((None, axes, None), turned)))
        indices = self._counts.addressable_devices_indices_map((self._devices, layout.group))
        self.own = {index[0].start or 0 for index in indices.values() if index is not None}

    def arrays(self, parts: Mapping[int, Part]) -> tuple[jax.Array, jax.Array]:
        """The numbers of all devices, [layers, rows, columns] or with the last two turned, and the
        counts of those that are not finite, [devices, layers]."""
        layout, turned = self._layout, self._layout.outputs_first

        def numbers(index: Index | None) -> np.ndarray:
            assert index is not None
            part = parts[(_turned(index, turned)[1].start or 0) // self.share].numbers
            # The order of numbers is changed on the way to the device.
            return part.swapaxes(1, 2) if turned else part

        def counts(index: Index | None) -> np.ndarray:
            assert index is not None
            return parts[index[0].start or 0].wrong[None]

        shape = _turned((layout.group, layout.rows, layout.columns), turned)
        return (
            jax.make_array_from_callback(shape, self._rows, numbers),
            jax.make_array_from_callback((self._devices, layout.group), self._counts, counts),
        )


def _turned(values: tuple[Any, ...], turned: bool) -> tuple[Any, ...]:
    layers, rows, columns = values
    return (layers, columns, rows) if turned else values


@functools.partial(jax.jit, donate_argnums=0, static_argnames="layout")
def _exchanged(
    array: jax.Array, part: jax.Array, wrong: jax.Array, first: jax.Array, *, layout: RowLayout
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
        part = part.reshape(layout.group, *array.shape[1:])
        return jax.lax.dynamic_update_slice_in_dim(array, part, first, 0), wrong

    specs = [jax.typeof(each).sharding.spec for each in (array, part, wrong)]
    none = PartitionSpec()
    return jax.shard_map(own, in_specs=(*specs, none), out_specs=(specs[0], none))(
        array, part, wrong, first
    )


def _axes(entry: Any) -> Axes:
    return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)
