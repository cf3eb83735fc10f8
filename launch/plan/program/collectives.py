"""Every collective of a compiled program, by kind, mesh axes and line of source."""

import functools
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from data.errors import UserError
from launch.plan.program.executed import Executed, Scope
from launch.plan.program.groups import Group, group_of
from launch.plan.program.hlo import Instruction, Program
from launch.plan.program.replaced import PERMUTES, origin, ring_part, sum_as, window
from launch.plan.work import Collective, Kind, ring_bytes

KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
KINDS["ragged-all-to-all"] = "all-to-all"
UNKNOWN = ("send", "recv", "collective-broadcast")
"""Opcodes that move bytes between chips in ways not counted here: refused."""
BETWEEN_SLICES = "xla_megascale_runtime"
"""Who hands on what a TPU's slice sends to the others: each runs a program of its own."""
SCATTER = "all-reduce-scatter"
"""Computation that TPU programs have a reduce-scatter in: an all-reduce, then each chip's part."""
MAKERS = 3
"""How far back a line is looked for: from a slice of a scatter to the product whose sum it is."""


@dataclass(frozen=True)
class SentCollective(Collective):
    """What one instruction sends."""

    elements: tuple[int, ...] = ()
    """Of each array that is gathered, whole; of other kinds none."""


def merged(sent: Iterable[Collective]) -> list[Collective]:
    """By kind, axes and line, the most bytes first."""
    same: dict[Collective, list[Collective]] = defaultdict(list)
    for each in sent:
        row = Collective(each.kind, each.axes, each.group, 0, 0.0, each.where, each.apart)
        same[row].append(each)
    rows = [
        replace(
            row, count=sum(part.count for part in parts), bytes=sum(part.bytes for part in parts)
        )
        for row, parts in same.items()
    ]
    return sorted(rows, key=lambda row: -row.bytes)


def sent_by(
    program: Program, steps: Iterable[Executed], sizes: Mapping[str, int]
) -> list[SentCollective]:
    """What every collective sends in a step, a started one counted where it starts.

    `sizes` are the mesh's axes, slowest first. Groups of one chip send nothing and are left out.
    Raises ValueError for what moves bytes in a way that is not known.
    """
    slices, inside = _slices(program, sizes)
    spanned = functools.cache(lambda attributes: group_of(attributes, inside))
    sent = []
    for instruction, scope in steps:
        opcode = instruction.opcode
        base = opcode.removesuffix("-start")
        if base in ("send", "recv") and BETWEEN_SLICES in instruction.attributes:
            if base == "send":
                sent.append(_to_slices(program, instruction, scope, slices))
        elif base in UNKNOWN:
            raise UserError(
                f"{instruction.name} of the compiled program must be a collective whose bytes "
                f"are known, because all traffic is counted, but it is a {opcode}; try another "
                "mesh, and report it"
            )
        elif opcode == "while" and (kind := window(instruction.computation_of("body").name)):
            # Its permutes bring the bytes, the loop itself the count.
            group = _ring(instruction, spanned)
            where = program.where(instruction)
            sent.append(SentCollective(kind, group.axes, group.size, scope.times, 0.0, where))
        elif base in KINDS and instruction.name not in instruction.computation.continued:
            group = spanned(_grouping(instruction))
            if group.size > 1:
                sent.append(_sent(program, instruction, scope, KINDS[base], group, inside))
    return sent


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
    return Group((axis,), number), inside


def _to_slices(program: Program, send: Instruction, scope: Scope, slices: Group) -> SentCollective:
    transfer = re.search(r'_xla_megascale_transfer_type="(\w+)"', send.attributes)
    if transfer is None or transfer[1] != "ALL_REDUCE":
        raise UserError(
            f"{send.name} of the compiled program must sum over slices, because no "
            f"other way between them is counted, but it is {transfer and transfer[1]}; try another "
            "mesh, and report it"
        )
    size = ring_bytes("all-reduce", scope.times * send.operands[0].bytes, slices.size)
    where = _where(program, send, scope)
    return SentCollective("all-reduce", *slices, scope.times, size, where, apart=True)


def _sent(
    program: Program,
    instruction: Instruction,
    scope: Scope,
    kind: Kind,
    group: Group,
    sizes: dict[str, int],
) -> SentCollective:
    n, runs = group.size, scope.times
    arrays = [shape.size for operand in instruction.operands for shape in operand.shapes]
    size = scope.times * sum(operand.bytes for operand in instruction.operands)
    gathered = [n * array for array in arrays]
    if kind == "all-gather":
        size *= n - 1
    elif kind == "collective-permute":
        kind, counted = ring_part(instruction, scope, sizes)
        runs = scope.times if counted else 0
    elif kind == "all-reduce" and scope.computation.name.startswith(SCATTER):
        kind, size = "reduce-scatter", ring_bytes("reduce-scatter", size, n)
    else:
        size = ring_bytes(kind, size, n)
        if kind == "all-reduce":
            kind, gathered = sum_as(instruction), arrays
    elements = tuple(gathered) if kind == "all-gather" else ()
    where = _where(program, instruction, scope)
    return SentCollective(kind, *group, runs, size, where, elements=elements)


def _where(program: Program, instruction: Instruction, scope: Scope) -> str:
    """The line that asked for it; if it has lost that, the line of the fusion around it, or of
    the nearest that has one of what made its operand."""
    maker, near = instruction, [instruction, scope.caller]
    for _ in range(MAKERS):
        if maker.operands:
            maker = origin(maker.operands[0])
            near.append(maker)
    return next((line for each in near if each and (line := program.where(each))), "")


def _ring(loop: Instruction, spanned: Callable[[str], Group]) -> Group:
    """Of a windowed loop: that of its permutes."""
    body = loop.computation_of("body").instructions.values()
    permutes = (each for each in body if each.opcode in PERMUTES)
    return next((spanned(_grouping(permute)) for permute in permutes), Group((), 1))


def _grouping(instruction: Instruction) -> str:
    """The attributes without what differs where groups are the same."""
    return re.sub(r"channel_id=\d+|, (?:metadata|backend_config)=.*", "", instruction.attributes)
