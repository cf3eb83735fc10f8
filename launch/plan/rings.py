"""Gathers and scatters that TPU programs make of permutes beside a product.

The shards of a weight, or the sums of its gradient, go round a ring while what is there already is
multiplied: in a loop, known by its name, or on a short ring without one.
"""

from typing import NamedTuple

from launch.plan.executed import Executed
from launch.plan.groups import turned
from launch.plan.hlo import Computation, Instruction, Program
from launch.plan.products import target_of
from launch.plan.trips import SAME, Scope, body_of
from launch.plan.work import Kind

WINDOWED: dict[str, Kind] = {
    "windowed_dot_general_body_ag": "all-gather",
    "windowed_dot_general_body_rs": "reduce-scatter",
}
"""Such loops, by what they take the place of."""
PRODUCT = '/dot_general"'
"""How the name ends of what was made for a product."""
HANDED_ON = (*SAME, "get-tuple-element", "collective-permute-done", "slice-start", "slice-done")
PIECES = "ConcatBitcast"
"""Kernel that puts together what was copied to the small memory in slices."""
PERMUTES = ("collective-permute", "collective-permute-start")


class Part(NamedTuple):
    """What a permute is a part of."""

    kind: Kind
    last: bool
    """Whether it is the one of a gather or scatter by which that is counted."""


def part_of(program: Program, permute: Executed, sizes: dict[str, int]) -> Part | None:
    """None for a permute of its own. A loop itself brings the count of what it takes the place
    of."""
    kind = _in_loop(program, permute)
    return Part(kind, last=False) if kind else _unrolled(program, permute, sizes)


def window(computation: str) -> Kind | None:
    """What a loop with this body takes the place of."""
    return next((kind for name, kind in WINDOWED.items() if name in computation), None)


def origin(computation: Computation, name: str) -> Instruction:
    """What made a value that was only handed on since."""
    one = computation[name]
    while _handed_on(one):
        one = computation[one.operands[0]]
    return one


def _in_loop(program: Program, permute: Executed) -> Kind | None:
    """It is inside a windowed loop, makes a part of what one begins with, or sends on what one
    ended with."""
    scope: Scope | None = permute.scope
    while scope is not None:
        if kind := window(scope.computation.name):
            return kind
        scope = scope.parent
    computation, name = permute.scope.computation, permute.instruction.name
    source = origin(computation, permute.instruction.operands[0])
    loops = [source] if source.opcode == "while" else []
    for loop in computation.instructions.values():
        if loop.opcode == "while":
            state = computation[loop.operands[0]].operands
            if any(origin(computation, element).name == name for element in state):
                loops.append(loop)
    return next((kind for one in loops if (kind := window(body_of(program, one).name))), None)


def _unrolled(program: Program, permute: Executed, sizes: dict[str, int]) -> Part | None:
    """Without a loop: a permute that was made for a product and turns a whole ring by one place.
    Sums are added to where they arrive, shards are not."""
    instruction, computation = permute.instruction, permute.scope.computation
    if PRODUCT not in instruction.attributes:
        return None
    turn = turned(instruction.attributes, sizes)
    if turn not in (1, -1):
        return None
    added = _added(program, computation, instruction.name)
    sent_on = _sent_on(computation, instruction.name, _sources(computation))
    return Part("reduce-scatter" if added else "all-gather", last=turn == 1 and not sent_on)


def _added(program: Program, computation: Computation, name: str) -> bool:
    """Whether anything is added to a value."""
    for user in _users(computation, name):
        if user.opcode == "add":
            return True
        if user.opcode == "fusion":
            inner = program.computations[user.called[0]]
            given = zip(inner.parameters, user.operands, strict=True)
            if any(_added(program, inner, one.name) for one, operand in given if operand == name):
                return True
        elif _handed_on(user) and _added(program, computation, user.name):
            return True
    return False


def _sources(computation: Computation) -> set[str]:
    """What made the values that a computation's permutes send."""
    every = computation.instructions.values()
    return {origin(computation, one.operands[0]).name for one in every if one.opcode in PERMUTES}


def _sent_on(computation: Computation, name: str, sources: set[str]) -> bool:
    """Whether another permute sends what arrives, or what that is added to."""
    return name in sources or any(
        user.name in sources or (_handed_on(user) and _sent_on(computation, user.name, sources))
        for user in _users(computation, name)
    )


def _users(computation: Computation, name: str) -> list[Instruction]:
    return [one for one in computation.instructions.values() if name in one.operands]


def _handed_on(one: Instruction) -> bool:
    return one.opcode in HANDED_ON or (one.opcode == "custom-call" and target_of(one) == PIECES)
