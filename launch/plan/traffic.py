"""The collectives of a compiled step against the least that its layout needs, as a table."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from launch.mesh import shown
from launch.plan.collectives import Sent, collectives
from launch.plan.compiled import Read
from launch.plan.least import Need, least, local_sizes
from launch.plan.work import Collective, Kind
from model.config import ModelConfig
from train.config import TrainConfig

SMALL = 1e-3
"""Share of all bytes below which what nobody asked for is no row of its own."""


class Row(NamedTuple):
    """Collectives of one kind over the same axes."""

    kind: Kind
    axes: tuple[str, ...]
    group: int
    runs: int
    bytes: float
    least: float
    """Bytes the layout needs of this kind over these axes: 0 if it needs none."""


class Traffic(NamedTuple):
    """What a chip sends in a step, by the compiler and by arithmetic."""

    sizes: dict[str, int]
    rows: list[Row]
    """The most bytes first."""
    needs: list[Need]
    unasked: list[Collective]
    """What no layout of this program asks for."""
    uncounted: dict[str, int]
    """Kernels whose products are not known, and how often they run."""

    @property
    def bytes(self) -> float:
        return sum(row.bytes for row in self.rows)

    @property
    def least(self) -> float:
        return sum(need.bytes for need in self.needs)


def traffic(
    found: Read, model: ModelConfig, train: TrainConfig, length: int, sizes: Mapping[str, int]
) -> Traffic:
    """Compare what a program sends with what its layout needs; `model` is settled for the
    backend."""
    needs = least(model, train, length, sizes)
    wanted: dict[tuple[Kind, tuple[str, ...]], float] = {}
    for need in needs:
        key = (need.kind, (need.axis,))
        wanted[key] = wanted.get(key, 0.0) + need.bytes
    rows: dict[tuple[Kind, tuple[str, ...], int], Row] = {}
    for one in found.work.collectives:
        key = (one.kind, one.axes, one.group)
        row = rows.get(key, Row(*key, 0, 0.0, wanted.get(key[:2], 0.0)))
        rows[key] = row._replace(runs=row.runs + one.count, bytes=row.bytes + one.bytes)
    one = local_sizes(model, train, length, sizes)
    matrices = {one.table, *one.blocks.values()}
    weights = matrices | {model.num_layers * size for size in matrices}
    return Traffic(
        sizes=dict(sizes),
        rows=sorted(rows.values(), key=lambda row: -row.bytes),
        needs=needs,
        unasked=list(collectives(one for one in found.sent if not _asked(one, weights))),
        uncounted=found.uncounted,
    )


def _asked(one: Sent, weights: set[int]) -> bool:
    """Whether the layout asks for such a collective: sums over any axes, weights gathered and
    their gradients scattered over `fsdp`."""
    if one.kind == "all-reduce":
        return True
    if one.group.axes != ("fsdp",):
        return False
    if one.kind == "all-gather":
        return all(elements in weights for elements in one.elements)
    return one.kind == "reduce-scatter"


def table(told: Traffic) -> str:
    """At most 80 columns: kinds and axes with both counts of bytes, then what nobody asked for."""
    lines = [
        f"traffic of a step, sent by each chip of {shown(told.sizes)}",
        _line("", "runs", "compiler", "least", "ratio"),
    ]
    for row in told.rows:
        name = f"{row.kind} over {' x '.join(row.axes) or 'no axes'}"
        lines.append(_line(name, f"{row.runs:,}", _size(row.bytes), *_against(row)))
    missing = {(need.kind, need.axis) for need in told.needs}
    missing -= {(row.kind, row.axes[0]) for row in told.rows if len(row.axes) == 1}
    for kind, axis in sorted(missing):
        size = sum(need.bytes for need in told.needs if (need.kind, need.axis) == (kind, axis))
        lines.append(_line(f"{kind} over {axis}", "0", _size(0), _size(size), ""))
    whole = Row("all-reduce", (), 0, 0, told.bytes, told.least)
    lines.append(_line("in all", "", _size(told.bytes), *_against(whole)))
    return "\n".join(lines + _flags(told)) + "\n"


def _flags(told: Traffic) -> list[str]:
    large = [one for one in told.unasked if one.bytes >= SMALL * told.bytes]
    lines = []
    if large:
        lines += ["", "the layout does not ask for"]
    for one in large:
        name = f"{one.kind} over {' x '.join(one.axes) or 'no axes'}"
        lines += [
            _line(name, f"{one.count:,}", _size(one.bytes)),
            f"    {one.where or 'line unknown'}",
        ]
    small = [one for one in told.unasked if one not in large]
    if small:
        size = _size(sum(one.bytes for one in small))
        lines += ["", f"nor for {len(small)} small ones, {size} in all"]
    for kernel, count in told.uncounted.items():
        lines += ["", f"products not counted, of {count:,} runs of", f"    {kernel}"]
    return lines


def _against(row: Row) -> tuple[str, str]:
    if not row.least:
        return "", ""
    return _size(row.least), f"{row.bytes / row.least:.2f}"


def _line(name: str, *columns: str) -> str:
    widths = (9, 12, 12, 7)
    cells = [f"{cell:>{width}}" for cell, width in zip(columns, widths, strict=False)]
    return f"{name:<40}{''.join(cells)}".rstrip()


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def record(told: Traffic) -> dict[str, Any]:
    """For JSON: all in bytes a chip and step, `needs` by arithmetic, the rest by the compiler."""
    return {
        "bytes": told.bytes,
        "least": told.least,
        "collectives": [row._asdict() for row in told.rows],
        "needs": [need._asdict() for need in told.needs],
        "unasked": [one._asdict() for one in told.unasked],
        "uncounted": told.uncounted,
    }
