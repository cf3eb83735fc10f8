"""The collectives of a compiled step against the least that its layout needs."""

from collections.abc import Mapping
from typing import NamedTuple

from launch.config import RunConfig
from launch.plan.collectives import Sent, collectives
from launch.plan.compiled import Read
from launch.plan.least import Need, least, local_sizes
from launch.plan.work import Collective, Kind


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


def traffic(found: Read, config: RunConfig, sizes: Mapping[str, int]) -> Traffic:
    """Compare what the run's program sends with what its layout needs, on a mesh with these
    axes."""
    model, train, length = config.model, config.train, config.data.sequence_length
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
    halved = {one.group.axes for one in found.sent if one.kind == "reduce-scatter"}
    return Traffic(
        sizes=dict(sizes),
        rows=sorted(rows.values(), key=lambda row: -row.bytes),
        needs=needs,
        unasked=list(collectives(one for one in found.sent if not _asked(one, weights, halved))),
        uncounted=found.uncounted,
    )


def _asked(one: Sent, weights: set[int], halved: set[tuple[str, ...]]) -> bool:
    """Whether the layout asks for such a collective: sums over any axes, whole or in two halves, a
    scatter and a gather over the same axes; and weights gathered over `fsdp`."""
    if one.kind == "all-gather" and one.group.axes == ("fsdp",):
        return all(elements in weights for elements in one.elements)
    if one.kind == "all-gather":
        return one.group.axes in halved
    return one.kind in ("all-reduce", "reduce-scatter")
