"""Which mesh axes ride a chip's fast links and which the network between slices or nodes."""

import functools
import itertools
import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from data.errors import UserError
from model.sharding import AXES
from train.chips import Chip


class GroupSpan(NamedTuple):
    """Where the groups of one mesh axis, or of several, lie."""

    inner: int
    """Chips of a group that fast links join, in the slice or node that has the fewest of them."""
    outer: int
    """Slices or nodes, which only the network joins, that a group lies in at most."""
    links: float
    """Links of a chip that the group's ring or rings use at once, each one way; 1 for NVLink."""


class Placement(NamedTuple):
    """Every axis of a mesh on a machine."""

    sizes: tuple[int, ...]
    """Of all axes."""
    domain: int
    """Chips of a slice or node, which follow each other in the mesh, the last axis first."""
    rings: dict[str, float]
    """Links that each axis uses inside a slice of a torus."""

    def joined(self, axes: tuple[str, ...]) -> GroupSpan:
        """The span of groups over these axes; over all of them if none is named."""
        axes = axes or AXES
        links = sum(self.rings.get(axis, 0.0) for axis in axes)
        return GroupSpan(*_parts_of(self.sizes, self.domain, axes), links or 1)


@functools.cache
def _parts_of(sizes: tuple[int, ...], domain: int, axes: tuple[str, ...]) -> tuple[int, int]:
    """Of groups over these axes the fewest members in a domain and the most domains of a group: in
    axes that do not divide a domain they are not the same everywhere."""
    domains = np.arange(math.prod(sizes)).reshape(sizes) // domain
    along = [AXES.index(axis) for axis in axes]
    size = math.prod(sizes[axis] for axis in along)
    groups = np.moveaxis(domains, along, range(-len(along), 0)).reshape(-1, size)
    number = domains.max() + 1
    parts, members = np.unique(
        groups + number * np.arange(len(groups))[:, None], return_counts=True
    )
    return int(members.min()), int(np.bincount(parts // number).max())


def place(chip: Chip, sizes: dict[str, int], shape: tuple[int, ...] = ()) -> Placement:
    """Every axis of a mesh on the machine, the last axis on the nearest chips.

    `shape` is the torus of one slice of a TPU; slices, and nodes of GPUs, are filled with the
    fastest axes first. ValueError if the axes do not fill whole slices or nodes.
    """
    chips = math.prod(sizes.values())
    domain = math.prod(shape) if chip.torus else min(chip.domain, chips)
    if chips % domain:
        where = f"slices of {'x'.join(map(str, shape))}" if chip.torus else "nodes of"
        raise UserError(
            f"mesh of {chips} chips must fill {where} {domain} chips, because the rest of one "
            f"would stand idle; try axes whose product is a multiple of {domain}"
        )
    whole = tuple(sizes.get(axis, 1) for axis in AXES)
    if not chip.torus:
        return Placement(whole, domain, {})
    inner = {axis: _parts_of(whole, domain, (axis,))[0] for axis in AXES}
    return Placement(whole, domain, _torus(shape, inner))


def _torus(shape: tuple[int, ...], inner: dict[str, int]) -> dict[str, float]:
    """Links of every axis: whole sides of the torus where they multiply to the axis, as many as
    can be, else parts of the longest ones.

    A whole side that closes is a ring, which uses both links of its dimension; one that does not,
    and every part of a side that several axes share, is a line, which uses one of them, or less
    where more than two share the two.
    """
    free, taken = list(shape), dict[str, dict[int, int]]()
    for axis in reversed(AXES):
        size = inner[axis]
        taken[axis] = _sides(free, size) or _parts(free, size)
        for side, part in taken[axis].items():
            free[side] //= part
    sharing = Counter(side for parts in taken.values() for side in parts)
    torus = len(shape) == 3 and all(side % 4 == 0 for side in shape)

    def used(side: int, part: int) -> float:
        closed = part == shape[side] and (torus or part == 16)
        return 2 if closed else min(1, 2 / sharing[side])

    return {
        axis: sum(used(side, part) for side, part in parts.items()) for axis, parts in taken.items()
    }


def _sides(free: list[int], size: int) -> dict[int, int]:
    """The most sides, by their place, whose `free` chips multiply to `size`; none if none do."""
    long = [side for side, left in enumerate(free) if left > 1]
    for count in range(len(long), 0, -1):
        for sides in itertools.combinations(long, count):
            if math.prod(free[side] for side in sides) == size:
                return {side: free[side] for side in sides}
    return {}


def _parts(free: list[int], size: int) -> dict[int, int]:
    """The parts, by the place of their sides, that `size` chips are of the longest sides."""
    parts: dict[int, int] = {}
    for side in sorted(range(len(free)), key=lambda side: -free[side]):
        part = math.gcd(free[side], size)
        size //= part
        if part > 1:
            parts[side] = part
    return parts
