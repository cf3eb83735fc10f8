"""How often a loop of a compiled program runs its body, read from its counter; never guessed."""

import re
from typing import NamedTuple

from data.errors import UserError
from launch.plan.hlo import Computation, Instruction, Program

SAME = ("bitcast", "convert", "copy", "copy-done", "copy-start", "reshape")
"""A scalar is the same after these."""
TURNED = {"LT": "GT", "GT": "LT", "LE": "GE", "GE": "LE"}


class Scope(NamedTuple):
    """A computation as one instruction runs it."""

    computation: Computation
    caller: Instruction | None
    parent: "Scope | None"


class Line(NamedTuple):
    """slope x (an element of the loop's state, by its number) + offset; without one a number."""

    offset: int
    slope: int = 0
    element: int | None = None


def body_of(program: Program, loop: Instruction) -> Computation:
    """What a `while` repeats."""
    return _computation(program, loop, "body")


def trips(program: Program, loop: Instruction, scope: Scope) -> int:
    """Trips of a `while`: as the compiler noted, else until its condition no longer holds of a
    counter that begins at a constant and steps by one. ValueError if it has none."""
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes)
    if known:
        return int(known[1])
    condition = _computation(program, loop, "condition")
    scalars = _Scalars(program, loop)
    found = scalars.comparison(Scope(condition, loop, scope), condition.root)
    if found:
        direction, left, right = found
        counter = left.element
        step = None if counter is None else scalars.step(scope, counter)
        first = None if counter is None else _begin(program, loop, scope, counter)
        bound = right.offset
        if right.element is not None:
            kept = scalars.step(scope, right.element) == 0
            value = _begin(program, loop, scope, right.element) if kept else None
            bound = None if value is None else right.slope * value + right.offset
        if step is not None and first is not None and bound is not None:
            count = _count(direction, left.slope * first + left.offset - bound, left.slope * step)
            if count is not None:
                return count
    raise UserError(
        f"loop {loop.name} of the compiled program must tell how often it runs, because all that "
        "it does is counted so often, but it compares no counter that begins and steps by "
        "constants; try to report it with the program's text"
    )


class _Scalars:
    """Reads scalars; elements of the state of `loop` stay unknown, those of loops around it count
    if they keep their value."""

    def __init__(self, program: Program, loop: Instruction | None) -> None:
        self._program = program
        self._loop = loop

    def comparison(self, scope: Scope, name: str) -> tuple[str, Line, Line] | None:
        """Direction and sides of the comparison that a predicate is, the counter first."""
        one = scope.computation[name]
        if one.opcode == "fusion":
            return self.comparison(*self._inside(one, scope))
        if one.opcode in SAME:
            return self.comparison(scope, one.operands[0])
        if one.opcode != "compare":
            return None
        direction = one.attribute("direction")
        left, right = (self.line(scope, operand) for operand in one.operands)
        if direction is None or left is None or right is None:
            return None
        if left.element is None or (
            right.element is not None and self.step(scope, left.element) == 0
        ):
            return TURNED.get(direction, direction), right, left
        return direction, left, right

    def step(self, scope: Scope, index: int) -> int | None:
        """What a trip adds to an element of the loop's state; None if it does anything else."""
        assert self._loop is not None
        body = body_of(self._program, self._loop)
        line = self._element(Scope(body, self._loop, scope), body.root, index)
        if line is None or line.element != index or line.slope != 1:
            return None
        return line.offset

    def line(self, scope: Scope, name: str) -> Line | None:
        """A scalar as a line over one element of the loop's state; None if it is none."""
        one = scope.computation[name]
        if one.opcode == "constant":
            return Line(int(one.literal)) if re.fullmatch(r"-?\d+", one.literal) else None
        if one.opcode in SAME:
            return self.line(scope, one.operands[0])
        if one.opcode == "get-tuple-element":
            return self._element(scope, one.operands[0], int(one.attribute("index") or ""))
        if one.opcode == "fusion":
            return self.line(*self._inside(one, scope))
        if one.opcode == "parameter" and scope.caller and scope.parent:
            return self.line(scope.parent, _given(scope.caller, scope, one))
        if one.opcode in ("add", "subtract", "multiply"):
            left, right = (self.line(scope, operand) for operand in one.operands)
            return _combined(one.opcode, left, right) if left and right else None
        return None

    def _element(self, scope: Scope, name: str, index: int) -> Line | None:
        """Element `index` of a tuple."""
        one = scope.computation[name]
        if one.opcode == "tuple":
            return self.line(scope, one.operands[index])
        if one.opcode in ("copy", "opt-barrier"):
            return self._element(scope, one.operands[0], index)
        if one.opcode == "fusion":
            return self._element(*self._inside(one, scope), index)
        if one.opcode == "while":
            return self._kept(one, scope, index)
        if one.opcode != "parameter" or scope.caller is None or scope.parent is None:
            return None
        if scope.caller is self._loop:
            return Line(0, 1, index)
        if scope.caller.opcode == "while":
            return self._kept(scope.caller, scope.parent, index)
        return self._element(scope.parent, _given(scope.caller, scope, one), index)

    def _kept(self, loop: Instruction, scope: Scope, index: int) -> Line | None:
        """What an element of another loop's state is at all times, if it never changes."""
        if _Scalars(self._program, loop).step(scope, index) != 0:
            return None
        return self._element(scope, loop.operands[0], index)

    def _inside(self, fusion: Instruction, scope: Scope) -> tuple[Scope, str]:
        inner = self._program.computations[fusion.called[0]]
        return Scope(inner, fusion, scope), inner.root


def _given(caller: Instruction, scope: Scope, parameter: Instruction) -> str:
    """The operand of its caller that a parameter is: each branch of a conditional has one, after
    what chooses the branch."""
    if caller.opcode == "conditional":
        return caller.operands[1 + caller.called.index(scope.computation.name)]
    return caller.operands[int(parameter.literal)]


def _begin(program: Program, loop: Instruction, scope: Scope, index: int) -> int | None:
    line = _Scalars(program, None)._element(scope, loop.operands[0], index)
    return line.offset if line and line.element is None else None


def _computation(program: Program, loop: Instruction, role: str) -> Computation:
    name = loop.attribute(role)
    assert name is not None
    return program.computations[name.lstrip("%")]


def _combined(opcode: str, left: Line, right: Line) -> Line | None:
    if left.element is not None and right.element is not None:
        return None
    counter = right.element if left.element is None else left.element
    if opcode == "multiply":
        if left.element is not None:
            left, right = right, left
        return Line(left.offset * right.offset, left.offset * right.slope, counter)
    sign = 1 if opcode == "add" else -1
    return Line(left.offset + sign * right.offset, left.slope + sign * right.slope, counter)


def _count(direction: str, begin: int, step: int) -> int | None:
    """Steps from `begin` until it no longer compares with 0; None if that never comes."""
    if direction in ("GT", "GE"):
        direction, begin, step = TURNED[direction], -begin, -step
    if direction == "LE":
        direction, begin = "LT", begin - 1
    if direction == "LT" and begin < 0:
        return -(begin // step) if step > 0 else None
    if direction == "NE" and begin:
        return -begin // step if step and begin % step == 0 and begin * step < 0 else None
    return 0 if direction in ("LT", "NE") else None
