"""What a program runs, and how often: its calls and loops followed from the entry."""

from collections.abc import Iterator
from typing import NamedTuple

from launch.plan.hlo import Instruction, Program
from launch.plan.products import products_in
from launch.plan.trips import Scope, body_of, trips

CONTROL = ("while", "conditional", "call", "async-start", "fusion")
FUSED = ("fusion", "async-start")


class Executed(NamedTuple):
    """An instruction of a program that runs."""

    instruction: Instruction
    scope: Scope
    times: int
    """In one run of the program."""
    fused: bool
    """Whether it is inside a fusion, so that its operands and results are in no memory."""

    def operand(self, index: int) -> Instruction:
        return self.scope.computation[self.instruction.operands[index]]


def executed(program: Program) -> Iterator[Executed]:
    """Every instruction with its count.

    Of a conditional the branch with the most products is taken to run, of equals the longest: the
    update of a train step, which a good step makes, and dense attention where some layers see a
    band only. Raises ValueError for a loop whose trips the text does not tell.
    """
    scope = Scope(program.computations[program.entry], None, None)
    yield from _walk(program, scope, 1, False)


def _walk(program: Program, scope: Scope, times: int, fused: bool) -> Iterator[Executed]:
    for instruction in scope.computation.instructions.values():
        yield Executed(instruction, scope, times, fused)
        if instruction.opcode not in CONTROL:
            continue
        called = [program.computations[name] for name in instruction.called]
        inner, count = called[0], times
        if instruction.opcode == "while":
            inner = body_of(program, instruction)
            count = times * trips(program, instruction, scope)
        elif instruction.opcode == "conditional":
            inner = max(called, key=lambda one: (products_in(program, one), len(one.instructions)))
        within = fused or instruction.opcode in FUSED
        yield from _walk(program, Scope(inner, instruction, scope), count, within)
