"""Which mesh axes ride a chip's fast links and which the network between slices or nodes."""

import functools
import itertools
import math
from typing import NamedTuple

from launch.plan.chips import Chip
from model.sharding import AXES


class Span(NamedTuple):
    """Where the groups of one mesh axis, or of several, lie."""

    inner: int
    """Chips of a group that fast links join."""
    outer: int
    """Parts of a group that only the network joins: slices or nodes."""
    links: int
    """Links of a chip that the group's ring or rings use at once, each one way; 1 for NVLink."""


class Placement(NamedTuple):
    """Every axis of a mesh on a machine."""

    spans: dict[str, Span]
    links: int
    """Links of a chip in all, as `Span.links` counts them."""

    def joined(self, axes: tuple[str, ...]) -> Span:
        """The span of groups over several axes; over all of them if none is named."""
        spans = [self.spans[axis] for axis in axes or AXES]
        return Span(
            math.prod(span.inner for span in spans),
            math.prod(span.outer for span in spans),
            min(self.links, max(1, sum(span.links for span in spans if span.inner > 1))),
        )


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
    left, inner = domain, {}
    for axis in reversed(AXES):
        inner[axis] = math.gcd(sizes.get(axis, 1), left)
        left //= inner[axis]
    if left != 1:
        where = f"slices of {'x'.join(map(str, shape))}" if chip.torus else "nodes of"
        raise ValueError(
            f"mesh of {chips} chips must fill {where} {domain} chips, because the rest of one "
            f"would stand idle; try axes whose product is a multiple of {domain}"
        )
    links = _torus(shape, inner) if chip.torus else _all(1)
    spans = {
        axis: Span(inner[axis], sizes.get(axis, 1) // inner[axis], links[axis]) for axis in AXES
    }
    return Placement(spans, 2 * chip.torus or 1)


def _torus(shape: tuple[int, ...], inner: dict[str, int]) -> dict[str, int]:
    """Links of every axis: whole sides of the torus where they multiply to the axis, as many as
    can be, else parts of the longest ones.

    A ring uses both links of its dimension, a line of chips (a part of a side, or a side without a
    link from its last chip to its first) one of them.
    """
    free, links = list(shape), _all(1)
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


def _all(links: int) -> dict[str, int]:
    return dict.fromkeys(AXES, links)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
