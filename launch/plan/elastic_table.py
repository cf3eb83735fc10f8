"""The elastic table as text of at most 80 columns and as JSON."""

import textwrap
from collections.abc import Sequence
from typing import Any

from launch.config import RunConfig
from launch.plan.domain import standing_of
from launch.plan.domain_table import domain_json, domain_lines
from launch.plan.elastic import ROOM, WORTH, Gap, Row, worth
from launch.plan.enough import advice
from launch.plan.layouts import OFFLOAD
from launch.plan.roofline import Communication
from launch.plan.timing import device_of
from launch.plan.topology import sizes_from
from model.flops import parameter_count
from train.chips import CHIPS, Chip


def elastic_text(config: RunConfig, chip: str, rows: Sequence[Row | Gap]) -> str:
    """A line for each number of chips, then where scaling stops and which collective stops it."""
    batch, length = config.train.batch_size, config.data.sequence_length
    costs = any(isinstance(row, Row) and row.course.cost is not None for row in rows)
    head = (
        f"{'chips':>6}  {'repl x fsdp x t':<16}{'remat':<6}{'micro':>5}{'step s':>10}{'MFU':>6}"
        f"{'cost' if costs else 'chip-hours':>13}  waits most for"
    )
    lines = [
        f"{config.preset}, {parameter_count(config.model):,} parameters, on {chip}",
        f"{config.train.steps:,} steps of {batch:,} x {length:,} tokens",
        "time: arithmetic roofline over arithmetic, the fastest layout that fits by it",
        *(f"mesh: {row.topology.devices_per_chip} devices a chip" for row in _shared(rows)),
        "",
        head,
        "-" * 80,
        *map(_line, rows),
        "-" * 80,
    ]
    found = [row for row in rows if isinstance(row, Row)]
    standings = [standing_of(row.config, row.topology) for row in found]
    return "\n".join(
        [
            *lines,
            *_end(rows),
            *_lacking(config, CHIPS[chip], rows),
            *(["", *domain_lines(standings)] if standings else []),
        ]
    )


def _lacking(config: RunConfig, chip: Chip, rows: Sequence[Row | Gap]) -> list[str]:
    """What is told of numbers of chips on which no layout has room."""
    crowded = [row for row in rows if isinstance(row, Gap) and row.crowded]
    told = [OFFLOAD] if crowded else []
    if len(crowded) == len(rows):
        device, _ = device_of(next(sizes_from(chip)))
        told.append(
            advice(
                config,
                chip,
                ROOM * device.memory,
                beyond=crowded[-1].chips,
                flags="--search in place of --elastic, with ",
            )
        )
    return textwrap.wrap("; ".join(told), 80, break_on_hyphens=False)


def _shared(rows: Sequence[Row | Gap]) -> list[Row]:
    """The first row, if its chips are several devices."""
    found = [row for row in rows if isinstance(row, Row)]
    return [row for row in found[:1] if row.topology.devices_per_chip > 1]


def _line(row: Row | Gap) -> str:
    if isinstance(row, Gap):
        return f"{row.chips:>6,}  {row.why}"
    mesh, spent, seconds = row.config.mesh, row.course.cost, row.time.seconds
    layout = f"{mesh.replica} x {mesh.fsdp} x {mesh.tensor}"
    return (
        f"{row.topology.chips:>6,}  {layout:<16}{row.config.model.remat:<6}"
        f"{row.config.train.accumulation:>5}{seconds:>10,{'.3f' if seconds >= 0.1 else '.3g'}}"
        f"{row.course.utilization:>6.0%}"
        f"{row.course.chip_hours if spent is None else spent:>13,.0f}  {_waits(row)}"
    )


def _waits(row: Row) -> str:
    if row.waits is None:
        return "nothing"
    part, share = row.waits
    return f"{_named(part)} {share:.0%}"


def _named(part: Communication) -> str:
    return " x ".join(part.axes) or "other groups"


def _end(rows: Sequence[Row | Gap]) -> list[str]:
    """Where more chips are no longer worth it."""
    found = worth(rows)
    if found is None:
        return ["no number of chips here has a layout"]
    last, beyond = found
    if beyond is None:
        gaps = [row for row in rows if isinstance(row, Gap) and row.chips > last.topology.chips]
        why = f"beyond, {gaps[0].why}" if gaps else "as far as was asked"
        return textwrap.wrap(f"scales to {last.topology.chips:,} chips; {why}", 80)
    lines = [
        f"scales to {last.topology.chips:,} chips: {beyond.topology.chips:,} take more than "
        f"{WORTH:g} times the fewest chip-hours,"
    ]
    if beyond.waits is not None:
        part, share = beyond.waits
        lines.append(
            f"as {share:.0%} of a step is collectives over {_named(part)} that the chip waits "
            f"for, by {part.slower}"
        )
    return lines


def elastic_json(rows: Sequence[Row | Gap]) -> list[dict[str, Any]]:
    """The same, with all digits."""
    return [row._asdict() if isinstance(row, Gap) else _row_json(row) for row in rows]


def _row_json(row: Row) -> dict[str, Any]:
    found = row.waits
    return {
        "chips": row.topology.chips,
        "topology": row.topology.name,
        "mesh": vars(row.config.mesh),
        "remat": row.config.model.remat,
        "accumulation": row.config.train.accumulation,
        "seconds": row.time.seconds,
        "origin": row.time.origin,
        "domain": domain_json(standing_of(row.config, row.topology)),
        **row.course._asdict(),
        "waits": None
        if found is None
        else {"axes": found[0].axes, "by": found[0].slower, "share": found[1]},
    }
