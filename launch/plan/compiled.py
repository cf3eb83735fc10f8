"""The work of a train step as its compiled program has it."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from launch.plan.collectives import Sent, collectives, sent
from launch.plan.executed import executed
from launch.plan.hlo import Program
from launch.plan.moved import moved_bytes
from launch.plan.products import product_flops, target_of
from launch.plan.work import Work


class Read(NamedTuple):
    """What was read from a program."""

    work: Work
    sent: list[Sent]
    """The collectives one by one."""
    uncounted: dict[str, int]
    """Kernels whose products are not known by name, and so are not in the work: how often each
    runs in a step."""


def read(program: Program, sizes: Mapping[str, int]) -> Read:
    """One chip's work in one step, on a mesh with these axes, slowest first, and what could not be
    counted."""
    flops = moved = 0.0
    uncounted: Counter[str] = Counter()
    steps = list(executed(program))
    for one in steps:
        multiplied = product_flops(one.instruction, one.scope.computation)
        if multiplied is None:
            uncounted[target_of(one.instruction)] += one.times
        else:
            flops += one.times * multiplied
        moved += one.times * moved_bytes(program, one)
    found = sent(program, steps, sizes)
    work = Work(
        matmul_flops=flops,
        memory_bytes=moved,
        collectives=collectives(found),
        origin="compiler",
    )
    return Read(work, found, dict(uncounted))
