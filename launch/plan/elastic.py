"""The same run on more and more chips, by arithmetic alone: where scaling stops, and why."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from launch.config import RunConfig
from launch.plan.layouts import Uncut, layouts, nearest_batch
from launch.plan.roofline import Communication, Course, StepTime
from launch.plan.timing import course_of, device_of, time_of
from launch.plan.topology import Topology, sizes_from
from train.chips import Chip
from train.memory import step_memory
from train.report.numbers import GIB

COUNTS = tuple(2**power for power in range(6, 14))
ROOM = 0.9
"""Of a chip's memory, what arithmetic may fill: it does not see what a compiler pads and keeps."""
WORTH = 1.5
"""Times the fewest chip-hours, beyond which more chips are said not to be worth it."""


class Row(NamedTuple):
    """The best layout on so many chips."""

    topology: Topology
    config: RunConfig
    time: StepTime
    course: Course

    @property
    def waits(self) -> tuple[Communication, float] | None:
        """The collectives that the chip waits for longest, and their share of the step."""
        if not self.time.communication:
            return None
        part = max(self.time.communication, key=self.time.waiting)
        return part, self.time.waiting(part) / self.time.seconds


class Gap(NamedTuple):
    """Chips on which the run has no layout."""

    chips: int
    why: str
    crowded: bool = False
    """Whether there are layouts, but none has room."""


def elastic(
    config: RunConfig,
    chip: Chip,
    price: float | None = None,
    counts: Sequence[int] = COUNTS,
    report: Callable[[str], None] = lambda told: None,
) -> list[Row | Gap]:
    """The run on each of those numbers of chips, its batch unchanged; those that fill no slices or
    nodes are left out. `report` is told of what is done."""
    rows = []
    for topology in _topologies(chip, counts):
        report(f"estimating all layouts on {topology.told}")
        rows.append(_best(config, topology, price))
    return rows


def _topologies(chip: Chip, counts: Sequence[int]) -> Iterator[Topology]:
    for topology in sizes_from(chip):
        if topology.chips > max(counts):
            return
        if topology.chips in counts:
            yield topology


def _best(config: RunConfig, topology: Topology, price: float | None) -> Row | Gap:
    """The fastest layout of those that fit by arithmetic."""
    device, _ = device_of(topology)
    length, packed = config.data.sequence_length, config.data.packing
    best: Row | None = None
    least = float("inf")
    try:
        for found in layouts(config, topology.devices, topology.slices):
            sizes = vars(found.mesh)
            asked = (found.model, found.train, length, sizes, topology.chip.platform)
            size = step_memory(*asked, packed=packed).total
            least = min(least, size)
            if size > ROOM * device.memory:
                continue
            time = time_of(found, sizes, topology)
            if best is None or time.seconds < best.time.seconds:
                course = course_of(found, topology, time.seconds, price)
                best = Row(topology, found, time, course)
    except Uncut:
        rows = nearest_batch(config, topology.devices, topology.slices)
        return Gap(
            topology.chips,
            f"no mesh cuts a batch of {config.train.batch_size} rows evenly; "
            f"try --train.batch-size {rows}",
        )
    if best is None:
        room = ROOM * device.memory / GIB
        why = f"no layout fits: {least / GIB:,.1f} of {room:,.1f} GiB a device"
        return Gap(topology.chips, why, crowded=True)
    return best


def worth(rows: Sequence[Row | Gap]) -> tuple[Row, Row | None] | None:
    """The most chips that are worth their hours, and the next ones, which are not."""
    found = [row for row in rows if isinstance(row, Row)]
    if not found:
        return None
    most = WORTH * min(row.course.chip_hours for row in found)
    last = max(index for index, row in enumerate(found) if row.course.chip_hours <= most)
    return found[last], found[last + 1] if last + 1 < len(found) else None
