"""What a program runs, and how often: its calls and loops followed from the entry. The trips of a
loop are computed from its counter, never guessed."""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from data.errors import UserError
from launch.plan.program.hlo import Computation, Instruction, Program
from launch.plan.program.products import products_in

SAME = ("bitcast", "convert", "copy", "copy-done", "copy-start", "reshape")
"""A scalar is the same after these."""
OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    **{name: getattr(operator, name.lower()) for name in ("LT", "LE", "GT", "GE", "EQ", "NE")},
}
FUSED = ("fusion", "async-start")
CONTROL = ("while", "conditional", "call", *FUSED)
ENDLESS = 2**17
"""Trips after which a loop is taken to have no end."""


class Scope(NamedTuple):
    """A computation as one instruction runs it."""

    computation: Computation
    caller: Instruction | None = None
    parent: "Scope | None" = None
    times: int = 1
    """In one run of the program."""
    fused: bool = False
    """Whether it is inside a fusion, so that its operands and results are in no memory."""


class Executed(NamedTuple):
    """An instruction of a program that runs."""

    instruction: Instruction
    scope: Scope


def executed(program: Program) -> Iterator[Executed]:
    """Every instruction with its count.

    Of a conditional the branch with the most products is taken to run, of equals the longest: the
    update of a train step, which a good step makes, and dense attention where some layers see a
    band only. Raises ValueError for a loop whose trips the text does not say.
    """
    return _walk(Scope(program.entry))


def _walk(scope: Scope) -> Iterator[Executed]:
    for instruction in scope.computation.instructions.values():
        yield Executed(instruction, scope)
        if instruction.opcode not in CONTROL:
            continue
        inner, times = instruction.called[0], scope.times
        if instruction.opcode == "while":
            inner, times = instruction.computation_of("body"), times * trips(instruction, scope)
        elif instruction.opcode == "conditional":
            inner = max(instruction.called, key=lambda c: (products_in(c), len(c.instructions)))
        fused = scope.fused or instruction.opcode in FUSED
        yield from _walk(Scope(inner, instruction, scope, times, fused))


def trips(loop: Instruction, scope: Scope) -> int:
    """Trips of a `while`: as the compiler noted, else until its condition no longer holds of the
    integers in its state. ValueError if they begin, or step, by what is known at run time only."""
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes)
    if known:
        return int(known[1])
    body, condition = loop.computation_of("body"), loop.computation_of("condition")
    root, inside = body.root.through("copy", "opt-barrier"), Scope(body, loop, scope)
    after = root.operands if root.opcode == "tuple" else []
    scalars = [n for n, next_ in enumerate(after) if [shape.dims for shape in next_.shapes] == [()]]
    state = {n: _value(loop.operands[0], scope, n) for n in scalars}
    for count in range(ENDLESS):
        more = _value(condition.root, Scope(condition, loop, scope), state=state)
        if more == 0:
            return count
        before, state = state, {n: _value(after[n], inside, state=state) for n in state}
        if more is None or before == state:
            break
    raise UserError(
        f"loop {loop.name} of the compiled program must say how often it runs, because all that "
        "it does is counted so often, but it compares no counter that begins and steps by "
        "constants; try to report it with the program's text"
    )


def _value(
    instruction: Instruction,
    scope: Scope,
    element: int | None = None,
    state: Mapping[int, int | None] | None = None,
) -> int | None:
    """An integer, or that element of a tuple; None if it is known at run time only. `state` is that
    of the loop whose trips are counted."""
    opcode, operands = instruction.opcode, instruction.operands
    if opcode == "constant":
        return int(instruction.literal) if re.fullmatch(r"-?\d+", instruction.literal) else None
    if opcode in (*SAME, "opt-barrier"):
        return _value(operands[0], scope, element, state)
    if opcode == "get-tuple-element":
        return _value(operands[0], scope, int(instruction.attribute("index") or ""), state)
    if opcode == "tuple" and element is not None:
        return _value(operands[element], scope, None, state)
    if opcode == "fusion":
        inner = instruction.called[0]
        return _value(inner.root, Scope(inner, instruction, scope), element, state)
    if opcode == "parameter" and scope.caller and scope.parent:
        caller, number = scope.caller, int(instruction.literal)
        if caller.opcode == "while" and element is not None:
            return state.get(element) if state else None
        if caller.opcode == "conditional":  # each branch has an operand, after what chooses it
            number = 1 + caller.called.index(scope.computation)
        return _value(caller.operands[number], scope.parent, element, state)
    operation = OPERATIONS.get(instruction.attribute("direction") or opcode)
    if operation is None:
        return None
    left, right = (_value(operand, scope, None, state) for operand in operands)
    return None if left is None or right is None else int(operation(left, right))
