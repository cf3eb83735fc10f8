"""The fewest chips on which a run would have a layout that fits, by arithmetic alone."""

import dataclasses
from typing import NamedTuple

from launch.config import RunConfig
from launch.plan.layouts import Uncut, layouts, nearest_batch
from launch.plan.timing import device_of
from launch.plan.topology import Topology, sizes_from
from train.chips import Chip
from train.memory import step_memory
from train.report.numbers import GIB

EACH, MOST = 1024, 16_384
"""Chips up to which every topology is looked at, and those with powers of two."""


class Enough(NamedTuple):
    """Chips that would do."""

    topology: Topology
    config: RunConfig
    """In the layout that takes the least memory."""
    bytes: float
    """Of a device."""


def advice(config: RunConfig, chip: Chip, room: float, *, beyond: int, flags: str = "") -> str:
    """What to try in place of `beyond` chips of that kind, on which no layout fits, as `enough`
    finds it; `flags` come before --on."""
    found = enough(config, chip, room, beyond=beyond)
    if found is None:
        return (
            "try chips with more memory, as more of these would not do "
            f"(arithmetic, up to {MOST:,} chips)"
        )
    batch = found.config.train.batch_size
    given = "" if batch == config.train.batch_size else f" --train.batch-size {batch}"
    there = device_of(found.topology)[0].memory / GIB
    return (
        f"try {flags}--on {found.topology.name}{given}, {found.topology.chips:,} chips, where the "
        f"smallest layout takes about {found.bytes / GIB:,.1f} of a device's {there:,.1f} GiB "
        "(arithmetic)"
    )


def enough(config: RunConfig, chip: Chip, room: float, *, beyond: int) -> Enough | None:
    """The first topology of more chips than `beyond` on which a layout takes at most `room` bytes
    of a device; None if none does.

    A batch that cannot be cut there is replaced by the nearest that can.
    """
    for topology in sizes_from(chip):
        if topology.chips > MOST:
            return None
        usual = topology.chips <= EACH or topology.chips.bit_count() == 1
        if topology.chips > beyond and usual:
            found = smallest(config, topology)
            if found.bytes <= room:
                return found
    return None


def smallest(config: RunConfig, topology: Topology) -> Enough:
    """The layout of the least memory on a topology."""
    length, packed = config.data.sequence_length, config.data.packing

    def bytes_of(found: RunConfig) -> float:
        sizes = dataclasses.asdict(found.mesh)
        return step_memory(
            found.model, found.train, length, sizes, topology.chip.platform, packed=packed
        ).total

    try:
        tried = list(layouts(config, topology.devices, topology.slices))
    except Uncut:
        rows = nearest_batch(config, topology.devices, topology.slices)
        train = dataclasses.replace(config.train, batch_size=rows)
        config = dataclasses.replace(config, train=train)
        tried = list(layouts(config, topology.devices, topology.slices))
    best = min(tried, key=bytes_of)
    return Enough(topology, best, bytes_of(best))
