"""Layouts by arithmetic alone: what each takes of a device, how long its step is, and the fewest
chips on which one fits."""

import dataclasses
import functools
from dataclasses import dataclass

from launch.config import RunConfig
from launch.plan.layouts import Uncut, layouts, nearest_batch
from launch.plan.roofline import StepTime, device_of, time_of
from launch.plan.topology import Topology, sizes_from
from train.chips import Chip
from train.memory import step_memory
from train.report.numbers import GIB

EACH, MOST = 1024, 16_384
"""Chips up to which every topology is looked at, and those with powers of two."""
ROOM = 0.9
"""Of a chip's memory, what arithmetic may fill: it does not see what a compiler pads and keeps."""


@dataclass(frozen=True)
class LayoutEstimate:
    """A run in one layout on a topology."""

    config: RunConfig
    topology: Topology

    @functools.cached_property
    def bytes(self) -> float:
        """Of a device at the step's peak."""
        run, platform = self.config, self.topology.chip.platform
        length = run.data.sequence_length
        rows = {"packed": run.data.packing, "scored": run.data.scored_share}
        return step_memory(run.model, run.train, length, vars(run.mesh), platform, **rows).total

    @functools.cached_property
    def time(self) -> StepTime:
        return time_of(self.config, vars(self.config.mesh), self.topology)


def estimates(config: RunConfig, topology: Topology) -> list[LayoutEstimate]:
    """Every layout that the topology can have as a mesh; errors of `layouts`."""
    return [LayoutEstimate(layout, topology) for layout in layouts(config, topology)]


def advice(config: RunConfig, chip: Chip, room: float, *, beyond: int, flags: str = "") -> str:
    """What to try in place of `beyond` chips of that kind, on which no layout fits, by `enough`;
    `flags` come before --on."""
    best = enough(config, chip, room, beyond=beyond)
    if best is None:
        return (
            "try chips with more memory, as more of these would not do "
            f"(arithmetic, up to {MOST:,} chips)"
        )
    batch = best.config.train.batch_size
    change = "" if batch == config.train.batch_size else f" --train.batch-size {batch}"
    memory = device_of(best.topology)[0].memory / GIB
    return (
        f"try {flags}--on {best.topology.name}{change}, {best.topology.chips:,} chips, where the "
        f"smallest layout takes about {best.bytes / GIB:,.1f} of a device's {memory:,.1f} GiB "
        "(arithmetic)"
    )


def enough(config: RunConfig, chip: Chip, room: float, *, beyond: int) -> LayoutEstimate | None:
    """The smallest layout on the first topology of more chips than `beyond` on which one takes at
    most `room` bytes of a device; None if none does."""
    for topology in sizes_from(chip):
        if topology.chips > MOST:
            return None
        usual = topology.chips <= EACH or topology.chips.bit_count() == 1
        if topology.chips > beyond and usual:
            best = smallest(config, topology)
            if best.bytes <= room:
                return best
    return None


def smallest(config: RunConfig, topology: Topology) -> LayoutEstimate:
    """The layout that takes the least memory on a topology; a batch that cannot be cut there is
    replaced by the nearest that can."""
    try:
        every = estimates(config, topology)
    except Uncut:
        rows = nearest_batch(config, topology)
        train = dataclasses.replace(config.train, batch_size=rows)
        every = estimates(dataclasses.replace(config, train=train), topology)
    return min(every, key=lambda estimate: estimate.bytes)
