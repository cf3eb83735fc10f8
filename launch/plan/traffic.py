"""The collectives of a compiled step against the least that its layout needs."""

from collections.abc import Mapping
from typing import NamedTuple

from launch.config import RunConfig
from launch.plan.collectives import Sent, collectives
from launch.plan.compiled import Read
from launch.plan.least import Need, least, local_sizes
from launch.plan.work import Collective, Kind

Key = tuple[Kind, tuple[str, ...]]
"""Kind and axes."""
SMALL = 1e-3
"""Share of all bytes below which what nobody asked for is not worth a row."""
FAR = 1.5
"""Times its least from which on a sum is flagged: a second copy of it, not what a ring adds."""


class Row(NamedTuple):
    """Collectives of one kind over the same axes."""

    kind: Kind
    axes: tuple[str, ...]
    group: int
    """Chips of the largest group."""
    runs: int
    bytes: float
    least: float
    """Bytes the layout needs of this kind over these axes: 0 if it needs none."""


class Excess(NamedTuple):
    """Sums over axes that need none, or far less."""

    row: Row
    lines: list[Collective]
    """The same by line of source, the most bytes first."""


class Traffic(NamedTuple):
    """What a chip sends in a step, by the compiler and by arithmetic."""

    sizes: dict[str, int]
    rows: list[Row]
    """The most bytes first."""
    needs: list[Need]
    unasked: list[Collective]
    """What no layout of this program asks for."""
    excess: list[Excess]
    uncounted: dict[str, int]
    """Kernels whose products are not known, and how often they run."""

    @property
    def bytes(self) -> float:
        return sum(row.bytes for row in self.rows)

    @property
    def least(self) -> float:
        return sum(need.bytes for need in self.needs)


def traffic(found: Read, config: RunConfig, sizes: Mapping[str, int]) -> Traffic:
    """Compare what the run's program sends with what its layout needs, on a mesh with these
    axes."""
    model, train, length = config.model, config.train, config.data.sequence_length
    needs = least(model, train, length, sizes)
    wanted: dict[Key, float] = {}
    for need in needs:
        key = (need.kind, (need.axis,))
        wanted[key] = wanted.get(key, 0.0) + need.bytes
    merged: dict[Key, Row] = {}
    for one in found.work.collectives:
        key = (one.kind, one.axes)
        row = merged.get(key, Row(*key, 0, 0, 0.0, wanted.get(key, 0.0)))
        merged[key] = row._replace(
            group=max(row.group, one.group), runs=row.runs + one.count, bytes=row.bytes + one.bytes
        )
    rows = sorted(merged.values(), key=lambda row: -row.bytes)
    one = local_sizes(model, train, length, sizes)
    matrices = {one.table, *one.blocks.values()}
    weights = matrices | {model.depth * size for size in matrices}
    halved = {one.group.axes for one in found.sent if one.kind == "reduce-scatter"}
    return Traffic(
        sizes=dict(sizes),
        rows=rows,
        needs=needs,
        unasked=list(collectives(one for one in found.sent if not _asked(one, weights, halved))),
        excess=_excess(rows, found.work.collectives, wanted),
        uncounted=found.uncounted,
    )


def _excess(
    rows: list[Row], found: tuple[Collective, ...], wanted: Mapping[Key, float]
) -> list[Excess]:
    """Sums far beyond their least, unless small. One over several axes may stand for one over each
    of them; it then sends less than twice what either would."""
    everything = sum(row.bytes for row in rows)
    flagged = []
    for row in rows:
        least = row.least
        if len(row.axes) > 1:
            least = 2 * min(wanted.get(("all-reduce", (axis,)), 0.0) for axis in row.axes)
        large = row.bytes > FAR * least and row.bytes - least >= SMALL * everything
        if row.kind == "all-reduce" and large:
            lines = [one for one in found if (one.kind, one.axes) == (row.kind, row.axes)]
            flagged.append(Excess(row, lines))
    return flagged


def _asked(one: Sent, weights: set[float], halved: set[tuple[str, ...]]) -> bool:
    """Whether the layout asks for such a collective: sums over any axes, whole or in two halves, a
    scatter and a gather over the same axes; and weights gathered over `fsdp`."""
    if one.kind == "all-gather" and one.group.axes == ("fsdp",):
        return all(elements in weights for elements in one.elements)
    if one.kind == "all-gather":
        return one.group.axes in halved
    return one.kind in ("all-reduce", "reduce-scatter")
