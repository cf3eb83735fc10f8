"""Which mesh axes the devices of a collective span, from any of the ways HLO writes groups.

The numbers in them are places in the mesh, row by row: a program is compiled for the mesh's devices
in that order.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from data.errors import UserError
from launch.plan.program.hlo import numbers

NAMED = re.compile(
    r"replica_groups=@?mesh\[([^\]]*)\](?:, device_ids=\(([^)]*(?:\([^)]*\))?)\))? \{([^}]*)\}"
)
IOTA = re.compile(r"replica_groups=(\[[\d,]+\])<=(\[[\d,]+\](?:T\([\d,]+\))?)")
LISTED = re.compile(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}")
PAIRS = re.compile(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}")


class Group(NamedTuple):
    """Devices that a collective joins, alike all over the mesh."""

    axes: tuple[str, ...]
    """Mesh axes along which its members differ, slowest first; empty if that is not the same for
    every group."""
    size: int
    """Members of the largest group."""


def group_of(attributes: str, sizes: dict[str, int]) -> Group:
    """What a collective with these attributes spans on a mesh of that size: of a permute, the axes
    along which any chip sends, and how many chips lie along them."""
    if PAIRS.search(attributes):
        axes = _names(np.any(_differ(_pairs(attributes), sizes), axis=1, keepdims=True), sizes)
        return Group(axes, math.prod(sizes[axis] for axis in axes))
    groups = groups_of(attributes, sizes)
    size = max(map(len, groups))
    if any(len(group) != size for group in groups):
        return Group((), size)
    differ = _differ(groups, sizes)
    alike = (differ == differ[:, :1]).all()
    return Group(_names(differ, sizes) if alike else (), size)


def groups_of(attributes: str, sizes: dict[str, int]) -> list[list[int]]:
    """Members of every group of a collective that has these attributes on a mesh of that size.

    Three forms: `{{0,1},{2,3}}`, `[2,2]<=[4]` with a transposition, and
    `mesh['a'=2,'b'=2] {'a'}`, where `'b':(2)4` is a part of an axis: 4 of it, after a split by 2.
    Without groups all devices are one.
    """
    if named := NAMED.search(attributes):
        return _named(*named.groups())
    if iota := IOTA.search(attributes):
        return _ordered(iota[2]).reshape(numbers(iota[1])).tolist()
    listed = LISTED.search(attributes)
    if listed is None:
        raise UserError(
            f"replica_groups of the compiled program must be written in a known way, because the "
            f"mesh axes are read from them, but they are in {attributes[:200]!r}; "
            "try to report it"
        )
    groups = [numbers(group) for group in re.findall(r"\{([\d,]+)\}", listed[1])]
    return groups or [list(range(math.prod(sizes.values())))]


def turned(attributes: str, sizes: dict[str, int]) -> int | None:
    """By how many places a collective-permute turns every ring along one axis of the mesh, back if
    negative; None if it does anything else."""
    pairs, axes = _pairs(attributes), group_of(attributes, sizes).axes
    if len(axes) != 1 or sorted(source for source, _ in pairs) != list(
        range(math.prod(sizes.values()))
    ):
        return None
    places = np.stack(np.unravel_index(np.array(pairs), tuple(sizes.values())))
    along, n = places[list(sizes).index(axes[0])], sizes[axes[0]]
    steps = set(((along[:, 1] - along[:, 0]) % n).tolist())
    if len(steps) > 1:
        return None
    (step,) = steps
    return step if step <= n // 2 else step - n


def _pairs(attributes: str) -> list[list[int]]:
    """Sender and receiver of every part of a collective-permute."""
    pairs = PAIRS.search(attributes)
    assert pairs is not None, attributes
    return [numbers(pair) for pair in re.findall(r"\{(\d+,\d+)\}", pairs[1])]


def _differ(groups: list[list[int]], sizes: dict[str, int]) -> np.ndarray:
    """[axes, groups]: whether the members of a group differ along an axis."""
    places = np.stack(np.unravel_index(np.array(groups), tuple(sizes.values())))
    return (places != places[:, :, :1]).any(axis=2)


def _names(differ: np.ndarray, sizes: dict[str, int]) -> tuple[str, ...]:
    return tuple(axis for axis, differs in zip(sizes, differ[:, 0], strict=True) if differs)


def _named(axes: str, device_ids: str | None, joined: str) -> list[list[int]]:
    parts = {
        name: (int(before or 1), int(size or 0))
        for name, before, size in re.findall(r"([\w.]+)'?(?::\((\d+)\)(\d+))?", joined)
    }
    dims: list[int] = []
    grouped: list[int] = []
    for name, size in re.findall(r"([\w.]+)'?=(\d+)", axes):
        before, part = parts.get(name, (1, 1))
        part = part or int(size)
        grouped.append(len(dims) + 1)
        dims += [before, part, int(size) // before // part]
    others = [dim for dim in range(len(dims)) if dim not in grouped]
    devices = _ordered(device_ids) if device_ids else np.arange(math.prod(dims))
    array = devices.reshape(dims).transpose(others + grouped)
    return array.reshape(-1, math.prod(dims[dim] for dim in grouped)).tolist()


def _ordered(text: str) -> np.ndarray:
    """Devices in an order: [4,2]T(1,0) is the transpose of a counted array; or each by itself."""
    if "[" not in text:
        return np.array(numbers(text))
    shape, _, order = text.partition("T")
    array = np.arange(math.prod(numbers(shape))).reshape(numbers(shape))
    return array.transpose(numbers(order)) if order else array
