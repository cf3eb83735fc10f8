"""Every collective of a compiled program, by kind, mesh axes and line of source."""

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from data.errors import UserError
from launch.plan.executed import Executed
from launch.plan.groups import Group, groups_of, permuted, span
from launch.plan.hlo import Instruction, Program
from launch.plan.rings import Part, origin, part_of, window
from launch.plan.sums import stands_for
from launch.plan.trips import body_of
from launch.plan.work import Collective, Kind

KINDS: dict[str, Kind] = {
    "all-gather": "all-gather",
    "all-reduce": "all-reduce",
    "reduce-scatter": "reduce-scatter",
    "all-to-all": "all-to-all",
    "ragged-all-to-all": "all-to-all",
    "collective-permute": "collective-permute",
}
UNKNOWN = ("send", "recv", "collective-broadcast")
"""Opcodes that move bytes between chips in ways not counted here: refused."""
BETWEEN_SLICES = "xla_megascale_runtime"
"""Who hands on what a TPU's slice sends to the others: each runs a program of its own."""
SCATTER = "all-reduce-scatter"
"""Computation that TPU programs hold a reduce-scatter in: an all-reduce, then each chip's part."""


MAKERS = 3
"""How far back a line is looked for: from a slice of a scatter to the product whose sum it is."""


class Sent(NamedTuple):
    """What one instruction sends."""

    kind: Kind
    group: Group
    runs: int
    bytes: float
    elements: tuple[int, ...]
    """Of each array that is gathered, whole; of other kinds none."""
    where: str


def collectives(found: Iterable[Sent]) -> tuple[Collective, ...]:
    """Merged by kind, axes and line, the most bytes first."""
    merged: dict[tuple[Kind, Group, str], tuple[int, float]] = {}
    for one in found:
        key = (one.kind, one.group, one.where)
        count, total = merged.get(key, (0, 0.0))
        merged[key] = (count + one.runs, total + one.bytes)
    rows = [
        Collective(kind, group.axes, group.size, count, total, where, group.apart)
        for (kind, group, where), (count, total) in merged.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.bytes))


def sent(program: Program, steps: Iterable[Executed], sizes: Mapping[str, int]) -> list[Sent]:
    """What every collective sends in a step, a started one counted where it starts.

    `sizes` are the mesh's axes, slowest first. Groups of one chip send nothing and are left out.
    Raises ValueError for what moves bytes in a way that is not known.
    """
    slices, inside = _slices(program, sizes)
    group_of = functools.cache(lambda text: _group(text, inside))
    found = []
    for one in steps:
        opcode = one.instruction.opcode
        base = opcode.removesuffix("-start")
        if base in ("send", "recv") and BETWEEN_SLICES in one.instruction.attributes:
            if base == "send":
                found.append(_to_slices(program, one, slices))
        elif base in UNKNOWN:
            raise UserError(
                f"{one.instruction.name} of the compiled program must be a collective whose bytes "
                f"are known, because all traffic is counted, but it is a {opcode}; try another "
                "mesh, and report it"
            )
        elif opcode == "while" and (kind := window(body_of(program, one.instruction).name)):
            # Its permutes bring the bytes, the loop itself the count.
            group = _ring(program, one.instruction, group_of)
            found.append(Sent(kind, group, one.times, 0.0, (), program.where(one.instruction)))
        elif base in KINDS and one.instruction.name not in one.scope.computation.continued:
            group = group_of(_grouping(one.instruction))
            if group.size > 1:
                found.append(_one(program, one, KINDS[base], group, inside))
    return found


def _slices(program: Program, sizes: Mapping[str, int]) -> tuple[Group, dict[str, int]]:
    """The slices as a group, and the mesh inside each of them: they lie along its slowest axis."""
    inside = dict(sizes)
    number, rest = divmod(math.prod(sizes.values()), program.partitions)
    if number == 1 and not rest:
        return Group((), 1), inside
    axis = next((axis for axis, size in sizes.items() if size > 1), "")
    if rest or not axis or inside[axis] % number:
        raise UserError(
            f"mesh {dict(sizes)} must be that of the compiled program, because groups are read by "
            f"places in it, but that runs on {program.partitions}; try the mesh it was compiled for"
        )
    inside[axis] //= number
    return Group((axis,), number, apart=True), inside


def _to_slices(program: Program, one: Executed, slices: Group) -> Sent:
    transfer = re.search(r'_xla_megascale_transfer_type="(\w+)"', one.instruction.attributes)
    if transfer is None or transfer[1] != "ALL_REDUCE":
        raise UserError(
            f"{one.instruction.name} of the compiled program must sum over slices, because no "
            f"other way between them is counted, but it is {transfer and transfer[1]}; try another "
            "mesh, and report it"
        )
    computation, name = one.scope.computation, one.instruction.operands[0]
    held = sum(shape.bytes for shape in computation[name].shapes)
    size = one.times * 2 * held * (slices.size - 1) / slices.size
    return Sent("all-reduce", slices, one.times, size, (), _where(program, one))


def _where(program: Program, one: Executed) -> str:
    """The line that asked for it; if it has lost that, the line of the fusion around it, or of
    the nearest that has one of what made its operand."""
    made, near = one.instruction, [one.instruction, one.scope.caller]
    for _ in range(MAKERS):
        if made.operands:
            made = origin(one.scope.computation, made.operands[0])
            near.append(made)
    return next((line for item in near if item and (line := program.where(item))), "")


def _one(program: Program, one: Executed, kind: Kind, group: Group, sizes: dict[str, int]) -> Sent:
    instruction, n = one.instruction, group.size
    arrays = [
        shape for name in instruction.operands for shape in one.scope.computation[name].shapes
    ]
    held = sum(shape.bytes for shape in arrays)
    where = _where(program, one)
    if kind == "all-gather":
        whole = tuple(shape.size * n for shape in arrays)
        return Sent(kind, group, one.times, one.times * held * (n - 1), whole, where)
    if kind == "collective-permute":
        part = part_of(program, one, sizes) or Part(kind, last=True)
        gathered = part.kind == "all-gather"
        whole = tuple(shape.size * n for shape in arrays) if gathered else ()
        runs = one.times if part.last else 0
        return Sent(part.kind, group, runs, one.times * held, whole, where)
    rounds, whole = 2 if kind == "all-reduce" else 1, ()
    if kind == "all-reduce" and one.scope.computation.name.startswith(SCATTER):
        kind, rounds = "reduce-scatter", 1
    elif kind == "all-reduce" and (kind := stands_for(program, one)) == "all-gather":
        whole = tuple(shape.size for shape in arrays)
    return Sent(kind, group, one.times, one.times * rounds * held * (n - 1) / n, whole, where)


def _ring(program: Program, loop: Instruction, group_of: Callable[[str], Group]) -> Group:
    """Of a windowed loop: that of its permutes."""
    body = body_of(program, loop)
    permutes = [
        one
        for one in body.instructions.values()
        if one.opcode.removesuffix("-start") == "collective-permute"
    ]
    return group_of(_grouping(permutes[0])) if permutes else Group((), 1)


def _grouping(instruction: Instruction) -> str:
    """The attributes without what differs where groups are the same."""
    return re.sub(r"channel_id=\d+|, (?:metadata|backend_config)=.*", "", instruction.attributes)


def _group(attributes: str, sizes: dict[str, int]) -> Group:
    if "source_target_pairs=" in attributes:
        return permuted(attributes, sizes)
    return span(groups_of(attributes, sizes), sizes)
