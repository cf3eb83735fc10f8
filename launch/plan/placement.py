"""Which mesh axes ride a chip's fast links and which the network between slices or nodes."""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from launch.plan.chips import Chip
from model.sharding import AXES


class Span(NamedTuple):
    """Where the groups of one mesh axis, or of several, lie."""

    inner: int
    """Chips of a group that fast links join, in the slice or node that has the fewest of them."""
    outer: int
    """Slices or nodes, which only the network joins, that a group lies in at most."""
    links: int
    """Links of a chip that the group's ring or rings use at once, each one way; 1 for NVLink."""


class Placement(NamedTuple):
    """Every axis of a mesh on a machine."""

    sizes: tuple[int, ...]
    """Of all axes."""
    domain: int
    """Chips of a slice or node, which follow each other in the mesh, the last axis first."""
    rings: dict[str, int]
    """Links that the rings of each axis use inside a slice of a torus."""
    links: int
    """Links of a chip in all, as `Span.links` counts them."""

    def joined(self, axes: tuple[str, ...]) -> Span:
        """The span of groups over these axes; over all of them if none is named."""
        axes = axes or AXES
        links = sum(self.rings.get(axis, 0) for axis in axes)
        return Span(*_parts_of(self.sizes, self.domain, axes), min(self.links, max(1, links)))


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


@functools.cache
def cube(chip: Chip, chips: int) -> tuple[int, ...]:
    """The torus nearest to a cube of so many chips of a TPU, smallest side first: of multiples of
    4 in three dimensions, if that can be had."""
    found = [
        sides
        for sides in itertools.combinations_with_replacement(_divisors(chips), chip.torus)
        if math.prod(sides) == chips
    ]

    def stretched(sides: tuple[int, ...]) -> tuple[bool, int]:
        return chip.torus == 3 and any(side % 4 for side in sides), sum(sides)

    return min(found, key=stretched)


def place(chip: Chip, sizes: dict[str, int], shape: tuple[int, ...] = ()) -> Placement:
    """Every axis of a mesh on the machine, the last axis on the nearest chips.

    `shape` is the torus of one slice of a TPU, that nearest to a cube of all chips if it is not
    given; slices, and nodes of GPUs, are filled with the fastest axes first. ValueError if the
    axes do not fill whole slices or nodes.
    """
    chips = math.prod(sizes.values())
    if chip.torus:
        shape = shape or cube(chip, chips)
        domain = math.prod(shape)
    else:
        domain = min(chip.domain, chips)
    if chips % domain:
        where = f"slices of {'x'.join(map(str, shape))}" if chip.torus else "nodes of"
        raise ValueError(
            f"mesh of {chips} chips must fill {where} {domain} chips, because the rest of one "
            f"would stand idle; try axes whose product is a multiple of {domain}"
        )
    whole = tuple(sizes.get(axis, 1) for axis in AXES)
    if not chip.torus:
        return Placement(whole, domain, {}, 1)
    inner = {axis: _parts_of(whole, domain, (axis,))[0] for axis in AXES}
    return Placement(whole, domain, _torus(shape, inner), 2 * chip.torus)


def _torus(shape: tuple[int, ...], inner: dict[str, int]) -> dict[str, int]:
    """Links of every axis: whole sides of the torus where they multiply to the axis, as many as
    can be, else parts of the longest ones.

    A ring uses both links of its dimension, a line of chips (a part of a side, or a side without a
    link from its last chip to its first) one of them.
    """
    free, links = list(shape), {}
    wrapped = len(shape) == 3 and all(side % 4 == 0 for side in shape)
    for axis in reversed(AXES):
        if inner[axis] == 1:
            continue
        whole = _sides(free, inner[axis])
        if whole:
            for side in whole:
                free.remove(side)
            links[axis] = sum(2 if wrapped or side == 16 else 1 for side in whole)
        else:
            free, links[axis] = _parts(free, inner[axis])
    return links


def _sides(free: list[int], size: int) -> tuple[int, ...]:
    """The most sides of `free` that multiply to `size`; none if none do."""
    long = [side for side in free if side > 1]
    for count in range(len(long), 0, -1):
        for sides in itertools.combinations(long, count):
            if math.prod(sides) == size:
                return sides
    return ()


def _parts(free: list[int], size: int) -> tuple[list[int], int]:
    """What is left of the sides after a part of `size` chips is cut off the longest ones, and the
    number of sides it lies on."""
    left, used = sorted(free, reverse=True), 0
    for index, side in enumerate(left):
        part = math.gcd(side, size)
        left[index] //= part
        size //= part
        used += part > 1
    return left, used


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
