"""What `--on` names: chips of one kind, in one or more slices of a torus or in nodes. No jax."""

import functools
import itertools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from data.errors import UserError
from train.chips import CHIPS, Chip

CORES_IN_NAMES = {"v4": 2, "v5p": 2, "tpu7x": 2}
"""Cores a chip, where the vendor's names count cores: v5p-8 is four chips, v5e-8 is eight."""
HOST = (2, 2, 1)
"""Chips of one host in a 3-D torus; its compiler knows no other order of them."""
OTHER_NAMES = {"v5litepod": "v5e"}
SPELLING = re.compile(r"(?:(\d+)x)?([a-z][a-z0-9]*?)(?::(\d+(?:x\d+)*)|-(\d+)|x(\d+))")


class Topology(NamedTuple):
    """Chips that a job runs on."""

    chip: Chip
    shape: tuple[int, ...]
    """Chips along each dimension of a slice's torus; of GPUs, nodes and GPUs a node."""
    slices: int = 1

    @property
    def chips(self) -> int:
        return self.slices * math.prod(self.shape)

    @property
    def devices(self) -> int:
        """Devices that JAX shows."""
        return self.chips * self.chip.devices

    @property
    def name(self) -> str:
        """As `parse` reads it: 2xv5e:16x16, h100x64."""
        if self.chip.platform == "gpu":
            return f"{self.chip.name}x{self.chips}"
        many = f"{self.slices}x" if self.slices > 1 else ""
        return f"{many}{self.chip.name}:{_by(self.shape)}"

    @property
    def words(self) -> str:
        """In words, with the chips."""
        what = f"{self.chips:,} {self.chip.name} chip{'s' if self.chips > 1 else ''}"
        if self.chip.platform == "gpu":
            nodes, each = self.shape
            return f"{what}, {nodes:,} node{'s' if nodes > 1 else ''} of {each}"
        many = f"{self.slices} slices of " if self.slices > 1 else ""
        return f"{what}, {many}{_by(self.shape)}"


def parse(text: str) -> Topology:
    """The topology of that name: v5p:8x8x8, v5p-1024 (the vendor's, which counts cores of some
    chips), 2xv5e-256 (slices), h100x64.

    Raises ValueError that lists the known chips, or the counts and shapes nearest to the one asked.
    """
    match = SPELLING.fullmatch(text.lower())
    name = match and OTHER_NAMES.get(match[2], match[2])
    if match is None or name not in CHIPS:
        raise UserError(
            f"on={text} must be a number of known chips, because only their compilers and figures "
            f"are here: {', '.join(CHIPS)}; try v5p:4x4x4, v5p-128, 2xv5e-256 or h100x64"
        )
    many, _, shape, named, count = match.groups()
    chip, slices = CHIPS[name], int(many or 1)
    if (chip.platform == "gpu") != (count is not None) or (count and many):
        example = "h100x64" if chip.platform == "gpu" else f"{name}-64"
        raise UserError(
            f"on={text} must say GPUs as h100x64 and TPUs as v5p:4x4x4 or v5p-128, because GPUs "
            f"stand in nodes and TPUs in a torus; try {example}"
        )
    if slices < 1:
        raise UserError(f"on={text} must have at least 1 slice; try {text.replace('0x', '1x', 1)}")
    if count is not None:
        return Topology(chip, _nodes(text, chip, int(count)))
    if shape is not None:
        return Topology(chip, _torus(text, chip, tuple(map(int, shape.split("x")))), slices)
    cores = CORES_IN_NAMES.get(name, 1)
    chips, rest = divmod(int(named), cores)
    known = _slices(chip)
    if rest or chips not in known:
        near = sorted(known, key=lambda size: abs(size - chips))[:3]
        counted = f" {cores} cores a chip," if cores > 1 else ""
        raise UserError(
            f"on={text} must be chips that fill a torus, because the links of {name} join them "
            f"in {chip.torus} dimensions,{counted} up to {chip.domain}; "
            f"try {' or '.join(f'{name}-{size * cores}' for size in sorted(near))}"
        )
    return Topology(chip, known[chips], slices)


def sizes_from(chip: Chip) -> Iterator[Topology]:
    """Topologies of one chip by chips, from the smallest: slices or nodes that are whole, then many
    of the largest."""
    if chip.platform == "gpu":
        yield from (Topology(chip, (nodes, chip.domain)) for nodes in itertools.count(1))
    known = _slices(chip)
    yield from (Topology(chip, known[chips]) for chips in sorted(known))
    yield from (Topology(chip, known[max(known)], slices) for slices in itertools.count(2))


def _nodes(text: str, chip: Chip, count: int) -> tuple[int, int]:
    """Nodes and GPUs a node; one node may be filled in part."""
    each = chip.domain
    if count >= 1 and (count < each or count % each == 0):
        return max(1, count // each), min(count, each)
    near = {max(1, count // each * each), (count // each + 1) * each}
    raise UserError(
        f"on={text} must be whole nodes, because {chip.name} come {each} to a node; "
        f"try {' or '.join(f'{chip.name}x{size}' for size in sorted(near))}"
    )


def _torus(text: str, chip: Chip, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, if it is one the vendor builds: each side up to 4 or a multiple of it."""
    ascending = tuple(sorted(shape))
    if ascending == tuple(sorted(HOST)) and chip.torus == len(HOST):
        return HOST
    if ascending in _shapes(chip):
        return shape
    near = sorted(_shapes(chip), key=lambda known: _far(known, ascending))[:3]
    raise UserError(
        f"on={text} must be a torus of {chip.torus} sides and at most {chip.domain} chips that "
        f"{chip.name} is built in, because only those have links; "
        f"try {' or '.join(f'{chip.name}:{_by(known)}' for known in near)}"
    )


@functools.cache
def _shapes(chip: Chip) -> set[tuple[int, ...]]:
    """Sides of every torus of the chip's, in ascending order but for one host."""
    if chip.torus == 2:
        square = math.isqrt(chip.domain)
        sides = [2**power for power in range(square.bit_length())]
        return {(1, 1), *((a, b) for a in sides[1:] for b in (a, 2 * a) if b <= square)}
    # A cube is 4 x 4 x 4; a larger torus is made of whole ones.
    cubes = chip.domain // 64
    whole = {
        (4 * a, 4 * b, 4 * c)
        for a in range(1, cubes + 1)
        for b in range(a, math.isqrt(cubes // a) + 1)
        for c in range(b, cubes // (a * b) + 1)
    }
    return whole | {HOST, (2, 2, 2), (2, 2, 4), (2, 4, 4)}


def _slices(chip: Chip) -> dict[int, tuple[int, ...]]:
    """Chips of a slice and its shape, nearest to a cube, as the vendor lays it out by default."""
    best: dict[int, tuple[int, ...]] = {}
    for shape in _shapes(chip):
        size = math.prod(shape)
        if size not in best or sum(shape) < sum(best[size]):
            best[size] = shape
    return best


def _far(known: tuple[int, ...], asked: tuple[int, ...]) -> tuple[float, int]:
    """How far a shape is from the one asked, in chips first."""
    ratio = abs(math.log(math.prod(known) / max(1, math.prod(asked))))
    pairs = zip(known, asked, strict=False)
    return ratio, sum(abs(a - b) for a, b in pairs)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
