"""The same run on more and more chips, by arithmetic alone: where scaling stops, and why."""

import itertools
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from launch.config import RunConfig
from launch.plan.estimate import ROOM, LayoutEstimate, advice, estimates
from launch.plan.layouts import OFFLOAD, Uncut, nearest_batch
from launch.plan.published import standing_lines, standing_of
from launch.plan.roofline import RunTotals, device_of, totals_of
from launch.plan.topology import Topology, sizes_from
from model.flops import parameter_count
from train.chips import Chip
from train.report.numbers import GIB

COUNTS = tuple(2**power for power in range(6, 14))
WORTH = 1.5
"""Times the fewest chip-hours, beyond which more chips are said not to be worth it."""


@dataclass(frozen=True)
class BestLayout(LayoutEstimate):
    """The fastest layout on so many chips."""

    totals: RunTotals

    @property
    def record(self) -> dict[str, Any]:
        """For JSON."""
        wait = self.time.longest_wait
        return {
            "chips": self.topology.chips,
            "topology": self.topology.name,
            "mesh": vars(self.config.mesh),
            "remat": self.config.model.remat,
            "accumulation": self.config.train.accumulation,
            "seconds": self.time.seconds,
            "origin": self.time.origin,
            "domain": asdict(standing_of(self.config, self.topology)),
            **asdict(self.totals),
            "waits": wait and {"axes": wait[0].axes, "by": wait[0].slower, "share": wait[1]},
        }

    @property
    def line(self) -> str:
        mesh, totals, seconds = self.config.mesh, self.totals, self.time.seconds
        layout = f"{mesh.replica} x {mesh.fsdp} x {mesh.tensor}"
        spent = totals.chip_hours if totals.cost is None else totals.cost
        wait = self.time.longest_wait
        return (
            f"{self.topology.chips:>6,}  {layout:<16}{self.config.model.remat:<6}"
            f"{self.config.train.accumulation:>5}"
            f"{seconds:>10,{'.3f' if seconds >= 0.1 else '.3g'}}{totals.utilization:>6.0%}"
            f"{spent:>13,.0f}  {f'{wait[0].name} {wait[1]:.0%}' if wait else 'nothing'}"
        )


@dataclass(frozen=True)
class NoLayout:
    """Chips on which the run has no layout."""

    chips: int
    why: str
    crowded: bool = False
    """Whether there are layouts, but none has room."""

    @property
    def record(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def line(self) -> str:
        return f"{self.chips:>6,}  {self.why}"


Row = BestLayout | NoLayout


def scaling(
    config: RunConfig,
    chip: Chip,
    price: float | None = None,
    counts: Sequence[int] = COUNTS,
    report: Callable[[str], None] = lambda doing: None,
) -> list[Row]:
    """The run on each of those numbers of chips, its batch unchanged; those that fill no slices or
    nodes are left out. `report` is called with what is done."""
    rows = []
    for topology in itertools.takewhile(lambda t: t.chips <= max(counts), sizes_from(chip)):
        if topology.chips in counts:
            report(f"estimating all layouts on {topology.words}")
            rows.append(_best(config, topology, price))
    return rows


def _best(config: RunConfig, topology: Topology, price: float | None) -> Row:
    """The fastest layout of those that fit by arithmetic."""
    room = ROOM * device_of(topology)[0].memory
    try:
        every = estimates(config, topology)
    except Uncut:
        rows = nearest_batch(config, topology)
        why = f"no mesh cuts a batch of {config.train.batch_size} rows evenly"
        return NoLayout(topology.chips, f"{why}; try --train.batch-size {rows}")
    fitting = [estimate for estimate in every if estimate.bytes <= room]
    if not fitting:
        smallest = min(estimate.bytes for estimate in every)
        why = f"no layout fits: {smallest / GIB:,.1f} of {room / GIB:,.1f} GiB a device"
        return NoLayout(topology.chips, why, crowded=True)
    best = min(fitting, key=lambda estimate: estimate.time.seconds)
    totals = totals_of(best.config, topology, best.time.seconds, price)
    return BestLayout(best.config, topology, totals)


def worth(rows: Sequence[Row]) -> tuple[BestLayout, BestLayout | None] | None:
    """The most chips that are worth their hours, and the next ones, which are not."""
    best = [row for row in rows if isinstance(row, BestLayout)]
    if not best:
        return None
    most = WORTH * min(row.totals.chip_hours for row in best)
    last = max(index for index, row in enumerate(best) if row.totals.chip_hours <= most)
    return best[last], best[last + 1] if last + 1 < len(best) else None


def scaling_text(config: RunConfig, chip: Chip, rows: Sequence[Row]) -> str:
    """A line for each number of chips, then where scaling stops and which collective stops it, in
    at most 80 columns."""
    batch, length = config.train.batch_size, config.data.sequence_length
    best = [row for row in rows if isinstance(row, BestLayout)]
    spent = "cost" if any(row.totals.cost is not None for row in best) else "chip-hours"
    topologies = [row.topology for row in best]
    shared = best and chip.devices > 1
    lines = [
        f"{config.preset}, {parameter_count(config.model):,} parameters, on {chip.name}",
        f"{config.train.steps:,} steps of {batch:,} x {length:,} tokens",
        "time: arithmetic roofline over arithmetic, the fastest layout that fits by it",
        *([f"mesh: {chip.devices} devices a chip"] if shared else []),
        "",
        f"{'chips':>6}  {'repl x fsdp x t':<16}{'remat':<6}{'micro':>5}{'step s':>10}{'MFU':>6}"
        f"{spent:>13}  waits most for",
        "-" * 80,
        *(row.line for row in rows),
        "-" * 80,
        *_end(rows),
        *_crowded(config, chip, rows),
        *(["", *standing_lines(best[0].config, topologies)] if best else []),
    ]
    return "\n".join(lines)


def _end(rows: Sequence[Row]) -> list[str]:
    """Where more chips are no longer worth it."""
    ends = worth(rows)
    if ends is None:
        return ["no number of chips here has a layout"]
    last, beyond = ends
    if beyond is None:
        why = [
            row.why for row in rows if isinstance(row, NoLayout) and row.chips > last.topology.chips
        ]
        reason = f"beyond, {why[0]}" if why else "as far as was asked"
        return textwrap.wrap(f"scales to {last.topology.chips:,} chips; {reason}", 80)
    lines = [
        f"scales to {last.topology.chips:,} chips: {beyond.topology.chips:,} take more than "
        f"{WORTH:g} times the fewest chip-hours,"
    ]
    if beyond.time.longest_wait is not None:
        part, share = beyond.time.longest_wait
        lines.append(
            f"as {share:.0%} of a step is collectives over {part.name} that the chip waits "
            f"for, by {part.slower}"
        )
    return lines


def _crowded(config: RunConfig, chip: Chip, rows: Sequence[Row]) -> list[str]:
    """What to do about numbers of chips on which no layout has room."""
    crowded = [row for row in rows if isinstance(row, NoLayout) and row.crowded]
    text = OFFLOAD if crowded else ""
    if len(crowded) == len(rows):
        room = ROOM * device_of(next(sizes_from(chip)))[0].memory
        flags = "--search in place of --elastic, with "
        text += f"; {advice(config, chip, room, beyond=crowded[-1].chips, flags=flags)}"
    return textwrap.wrap(text, 80, break_on_hyphens=False)
