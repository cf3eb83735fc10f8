"""The collectives of a compiled step against what its layout has to send: compared, as a table of
at most 80 columns, and for JSON."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from launch.config import RunConfig
from launch.plan.lower_bound import Need, lower_bound
from launch.plan.program.collectives import SentCollective, merged
from launch.plan.program.compiled import ProgramWork
from launch.plan.work import Collective, Kind
from train.cut import cut
from train.report.numbers import in_unit

Key = tuple[Kind, tuple[str, ...]]
"""Kind and axes."""
SMALL = 1e-3
"""Share of all bytes below which what nobody asked for is not worth a row."""
FAR = 1.5
"""Times its lower bound from which on a sum is flagged: a second copy of it, not what a ring
adds."""
BYTES = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


@dataclass(frozen=True)
class TrafficRow:
    """Collectives of one kind over the same axes."""

    kind: Kind
    axes: tuple[str, ...]
    group: int
    """Chips of the largest group."""
    runs: int
    bytes: float
    lower_bound: float
    """Bytes the layout needs of this kind over these axes: 0 if it needs none."""

    @property
    def columns(self) -> list[str]:
        if not self.lower_bound:
            return [_size(self.bytes)]
        ratio = self.bytes / self.lower_bound
        bound = _size(self.lower_bound)
        return [_size(self.bytes), bound, f"{ratio:.2f}" if ratio < 1000 else "> 999"]

    @property
    def line(self) -> str:
        return _line(_name(self), f"{self.runs:,}", *self.columns)


@dataclass(frozen=True)
class Traffic:
    """What a chip sends in a step, by the compiler and by arithmetic."""

    collectives: list[TrafficRow]
    """The most bytes first."""
    needs: list[Need]
    unasked: list[Collective]
    """What no layout of this program asks for."""
    excess: list[tuple[TrafficRow, list[Collective]]]
    """Sums over axes that need none, or far less, with the same by line of source, the most bytes
    first."""
    uncounted: dict[str, int]
    """Kernels whose products are not known, and how often they run."""

    @property
    def bytes(self) -> float:
        return sum(row.bytes for row in self.collectives)

    @property
    def lower_bound(self) -> float:
        return sum(need.bytes for need in self.needs)

    @property
    def record(self) -> dict[str, Any]:
        """For JSON: all in bytes a chip and step."""
        return {
            "bytes": self.bytes,
            "lower_bound": self.lower_bound,
            **asdict(self),
            "excess": [
                {**asdict(row), "lines": [asdict(line) for line in lines]}
                for row, lines in self.excess
            ],
            "origins": {"lower_bound": "arithmetic", "needs": "arithmetic", "others": "compiler"},
        }


def traffic(program: ProgramWork, config: RunConfig, sizes: Mapping[str, int]) -> Traffic:
    """Compare what the run's program sends with what its layout needs, on a mesh with these
    axes."""
    model = config.model
    data = config.data
    needs = lower_bound(model, config.train, data.sequence_length, sizes, data.scored_share)
    needed: dict[Key, float] = defaultdict(float)
    for need in needs:
        needed[need.kind, (need.axis,)] += need.bytes
    by_key: dict[Key, list[Collective]] = defaultdict(list)
    for each in program.work.collectives:
        by_key[each.kind, each.axes].append(each)
    rows = [
        TrafficRow(
            kind,
            axes,
            group=max(each.group for each in same),
            runs=sum(each.count for each in same),
            bytes=sum(each.bytes for each in same),
            lower_bound=needed.get((kind, axes), 0.0),
        )
        for (kind, axes), same in by_key.items()
    ]
    rows.sort(key=lambda row: -row.bytes)
    total = sum(row.bytes for row in rows)
    local, stacks = cut(model, sizes.get("tensor", 1)), model.stacks(data.scored_share)
    matrices = {local.tables[0], *local.matrices.values(), *local.head.values()}
    weights = matrices | {stack.layers * size for stack in stacks for size in matrices}
    halved = {each.axes for each in program.work.collectives if each.kind == "reduce-scatter"}
    return Traffic(
        collectives=rows,
        needs=needs,
        unasked=merged(sent for sent in program.sent if not _asked(sent, weights, halved)),
        excess=[
            (row, by_key[row.kind, row.axes]) for row in rows if _is_excess(row, needed, total)
        ],
        uncounted=program.uncounted,
    )


def _is_excess(row: TrafficRow, needed: Mapping[Key, float], total: float) -> bool:
    """Whether it is a sum far beyond its lower bound, unless small. One over several axes may stand
    for one over each of them; it then sends less than twice what either would."""
    bound = row.lower_bound
    if len(row.axes) > 1:
        bound = 2 * min(needed.get(("all-reduce", (axis,)), 0.0) for axis in row.axes)
    large = row.bytes > FAR * bound and row.bytes - bound >= SMALL * total
    return row.kind == "all-reduce" and large


def _asked(sent: SentCollective, weights: set[float], halved: set[tuple[str, ...]]) -> bool:
    """Whether the layout asks for such a collective: sums over any axes, whole or in two halves, a
    scatter and a gather over the same axes; and weights gathered over `fsdp`."""
    if sent.kind == "all-gather" and sent.axes == ("fsdp",):
        return all(elements in weights for elements in sent.elements)
    if sent.kind == "all-gather":
        return sent.axes in halved
    return sent.kind in ("all-reduce", "reduce-scatter")


def traffic_lines(traffic: Traffic) -> list[str]:
    """Kinds and axes with both counts of bytes, then what nobody asked for; each part ends with an
    empty line."""
    if not (traffic.collectives or traffic.needs):
        lines = ["traffic of a step: none, as a device alone sends nothing"]
    else:
        missing: dict[Key, float] = defaultdict(float)
        for need in traffic.needs:
            missing[need.kind, (need.axis,)] += need.bytes
        for row in traffic.collectives:
            missing.pop((row.kind, row.axes), None)
        none = [TrafficRow(*key, 0, 0, 0.0, missing[key]) for key in sorted(missing)]
        whole = TrafficRow("all-reduce", (), 0, 0, traffic.bytes, traffic.lower_bound)
        lines = [
            "traffic of a step, sent by each device; the lower bound is arithmetic",
            _line("", "runs", "compiler", "lower bound", "ratio"),
            *(row.line for row in traffic.collectives),
            *(_line(_name(row), "0", _size(0), _size(row.lower_bound)) for row in none),
            _line("in all", "", *whole.columns),
        ]
    flags = _flags(traffic)
    return [*lines, "", *([*flags, ""] if flags else [])]


def _flags(traffic: Traffic) -> list[str]:
    small = SMALL * traffic.bytes
    lines = ["the layout does not ask for"] if traffic.unasked else []
    for each in traffic.unasked:
        if each.bytes >= small:
            lines.append(_sent(_name(each), [each]))
            lines.append(f"    {each.where or 'line unknown'}")
    rest = [each for each in traffic.unasked if each.bytes < small]
    if rest:
        lines.append(_sent("small ones", rest))
    if traffic.excess:
        lines.append("sums far beyond what the layout asks for")
    for row, parts in traffic.excess:
        lines.append(row.line)
        large = (each for each in parts if each.bytes >= small)
        lines += [_sent(f"    {each.where[-36:] or 'line unknown'}", [each]) for each in large]
    if traffic.uncounted:
        lines.append("products not counted, as the kernel is not known")
        lines += [
            _line(f"    {name}"[:40], f"{runs:,}") for name, runs in traffic.uncounted.items()
        ]
    return lines


def _name(row: TrafficRow | Collective) -> str:
    return f"{row.kind} over {' x '.join(row.axes) or 'no axes'}"


def _sent(name: str, parts: Sequence[Collective]) -> str:
    runs, size = sum(each.count for each in parts), sum(each.bytes for each in parts)
    return _line(name, f"{runs:,}", _size(size))


def _line(name: str, *columns: str) -> str:
    widths = (9, 12, 12, 7)
    cells = [f"{cell:>{width}}" for cell, width in zip(columns, widths, strict=False)]
    return f"{name:<40}{''.join(cells)}".rstrip()


def _size(size: float) -> str:
    number, unit = in_unit(size, BYTES)
    return f"{number:,.1f} {unit or 'B'}"
