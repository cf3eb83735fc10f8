"""The work of a train step as its compiled program has it."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from launch.plan.program.collectives import SentCollective, merged, sent_by
from launch.plan.program.executed import executed
from launch.plan.program.hlo import Program
from launch.plan.program.memory_traffic import memory_traffic
from launch.plan.program.products import product_flops
from launch.plan.work import Work


class ProgramWork(NamedTuple):
    """What a program asks of a chip."""

    work: Work
    sent: list[SentCollective]
    """The collectives one by one."""
    uncounted: dict[str, int]
    """Kernels whose products are not known by name, and so are not in the work: how often each
    runs in a step."""


def work_in(program: Program, sizes: Mapping[str, int]) -> ProgramWork:
    """One chip's work in one step, on a mesh with these axes, slowest first, and what could not be
    counted."""
    flops = moved = 0.0
    uncounted: Counter[str] = Counter()
    steps = list(executed(program))
    for instruction, scope in steps:
        products = product_flops(instruction)
        if products is None:
            uncounted[instruction.kernel] += scope.times
        else:
            flops += scope.times * products
        if not scope.fused:
            moved += scope.times * memory_traffic(instruction)
    sent = sent_by(program, steps, sizes)
    work = Work(flops, moved, tuple(merged(sent)), "compiler")
    return ProgramWork(work, sent, dict(uncounted))
