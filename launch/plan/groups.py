"""Which mesh axes the devices of a collective span, from any of the ways HLO writes groups.

The numbers in them are places in the mesh, row by row: a program is compiled for the mesh's devices
in that order.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from data.errors import UserError


class Group(NamedTuple):
    """Devices that a collective joins, alike all over the mesh."""

    axes: tuple[str, ...]
    """Mesh axes along which its members differ, slowest first; empty if that is not the same for
    every group."""
    size: int
    """Members of the largest group."""
    apart: bool = False
    """Whether each member is in another slice, so that only the network joins them."""


def groups_of(attributes: str, sizes: dict[str, int]) -> list[list[int]]:
    """Members of every group of a collective that has these attributes on a mesh of that size.

    Three forms: `{{0,1},{2,3}}`, `[2,2]<=[4]` with a transposition, and
    `mesh['a'=2,'b'=2] {'a'}`, where `'b':(2)4` is a part of an axis: 4 of it, after a split by 2.
    Without groups all devices are one.
    """
    devices = math.prod(sizes.values())
    named = re.search(
        r"replica_groups=@?mesh\[([^\]]*)\](?:, device_ids=\(([^)]*(?:\([^)]*\))?)\))? \{([^}]*)\}",
        attributes,
    )
    if named:
        return _named(named[1], named[2], named[3])
    iota = re.search(r"replica_groups=(\[[\d,]+\]<=\[[\d,]+\](?:T\([\d,]+\))?)", attributes)
    if iota:
        return _iota(iota[1]).tolist()
    listed = re.search(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}", attributes)
    if listed is None:
        raise UserError(
            f"replica_groups of the compiled program must be written in a known way, because the "
            f"mesh axes are read from them, but they are in {attributes[:200]!r}; "
            "try to report it"
        )
    found = [
        [int(device) for device in group.split(",")]
        for group in re.findall(r"\{([\d,]+)\}", listed[1])
    ]
    return found or [list(range(devices))]


def span(groups: list[list[int]], sizes: dict[str, int]) -> Group:
    """The mesh axes that groups of places span."""
    size = max(map(len, groups))
    if any(len(group) != size for group in groups):
        return Group((), size)
    varies = _varies(groups, sizes)
    if (varies != varies[:, :1]).any():
        return Group((), size)
    return Group(_names(varies[:, 0], sizes), size)


def permuted(attributes: str, sizes: dict[str, int]) -> Group:
    """The mesh axes along which a collective-permute sends, and how many chips lie along them."""
    varies = _varies(_pairs(attributes), sizes)
    axes = _names(np.any(varies, axis=1, keepdims=True)[:, 0], sizes)
    return Group(axes, math.prod(sizes[axis] for axis in axes))


def turned(attributes: str, sizes: dict[str, int]) -> int | None:
    """By how many places a collective-permute turns every ring along one axis of the mesh, back if
    negative; None if it does anything else."""
    pairs = _pairs(attributes)
    axes = permuted(attributes, sizes).axes
    if len(axes) != 1 or sorted(one for one, _ in pairs) != list(range(math.prod(sizes.values()))):
        return None
    places = np.stack(np.unravel_index(np.array(pairs), tuple(sizes.values())))
    along, n = places[list(sizes).index(axes[0])], sizes[axes[0]]
    steps = (along[:, 1] - along[:, 0]) % n
    if (steps != steps[0]).any():
        return None
    return int(steps[0]) if steps[0] <= n // 2 else int(steps[0]) - n


def _pairs(attributes: str) -> list[list[int]]:
    """Sender and receiver of every part of a collective-permute."""
    found = re.search(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}", attributes)
    assert found is not None, attributes
    return [[int(one), int(other)] for one, other in re.findall(r"\{(\d+),(\d+)\}", found[1])]


def _varies(groups: list[list[int]], sizes: dict[str, int]) -> np.ndarray:
    """[axes, groups]: whether the members of a group differ along an axis."""
    places = np.stack(np.unravel_index(np.array(groups), tuple(sizes.values())))
    return (places != places[:, :, :1]).any(axis=2)


def _names(varies: np.ndarray, sizes: dict[str, int]) -> tuple[str, ...]:
    return tuple(axis for axis, moves in zip(sizes, varies, strict=True) if moves)


def _iota(text: str) -> np.ndarray:
    shape, _, source = text.partition("<=")
    dims, _, order = source.partition("T")
    array = np.arange(math.prod(_numbers(dims))).reshape(_numbers(dims))
    return (array.transpose(_numbers(order)) if order else array).reshape(_numbers(shape))


def _named(axes: str, device_ids: str | None, joined: str) -> list[list[int]]:
    sizes = [int(size) for size in re.findall(r"=(\d+)", axes)]
    names = re.findall(r"([\w.]+)'?=", axes)
    count = math.prod(sizes)
    if device_ids is None:
        devices = np.arange(count)
    elif "[" in device_ids:
        shape, _, order = device_ids.partition("T")
        devices = np.arange(count).reshape(_numbers(shape))
        devices = devices.transpose(_numbers(order)) if order else devices
    else:
        devices = np.array(_numbers(device_ids))
    dims: list[int] = []
    grouped: list[int] = []
    parts = {
        name: (int(before or 1), int(size or 0))
        for name, before, size in re.findall(r"([\w.]+)'?(?::\((\d+)\)(\d+))?", joined)
    }
    for name, size in zip(names, sizes, strict=True):
        before, part = parts.get(name, (1, 1))
        part = part or size
        grouped.append(len(dims) + 1)
        dims += [before, part, size // before // part]
    others = [dim for dim in range(len(dims)) if dim not in grouped]
    array = devices.reshape(dims).transpose(others + grouped)
    return array.reshape(-1, math.prod(dims[dim] for dim in grouped)).tolist()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]
