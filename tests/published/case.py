"""Published runs in the terms of the roofline: which were fitted, which are held back, and how far
off the prediction of each is."""

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

from launch.plan.efficiency import Efficiency
from launch.plan.placement import Placement, place
from launch.plan.roofline import step_time
from launch.plan.work import Work, work_of
from model.attention.kernels import kernel_named
from model.flops import flops_per_token, matrix_parameters
from tests.published.gpu import GPU_RUNS
from tests.published.mpt import OTHER_LENGTHS_AND_SIZES
from tests.published.run import Run
from tests.published.tpu import TPU_RUNS
from train.chips import CHIPS, Chip
from train.config import TrainConfig
from train.memory import device_step

RUNS: tuple[Run, ...] = (*TPU_RUNS, *GPU_RUNS)
FITTED, JUDGED = RUNS[0::2], RUNS[1::2]
EXTRA = OTHER_LENGTHS_AND_SIZES
"""Runs that widen what is judged: the shares are not fitted on them."""


class Case(NamedTuple):
    """A published run in the terms of the roofline."""

    work: Work
    chip: Chip
    placement: Placement
    bubble: float
    """Share by which a pipeline's first and last micro-batches lengthen a step (Narayanan et al.
    2021, section 2.2)."""
    seconds: float
    """Of a step, as published."""

    def predicted(self, shares: Efficiency) -> float:
        time = step_time(self.work, self.chip, self.placement, shares)
        return time.seconds * (1 + self.bubble)

    def error(self, shares: Efficiency) -> float:
        """Of the predicted seconds, as a share of the published ones."""
        return self.predicted(shares) / self.seconds - 1


@functools.cache
def cube(chip: Chip, chips: int) -> tuple[int, ...]:
    """The torus nearest to a cube of so many chips of a TPU, smallest side first: of multiples of
    4 in three dimensions, if that can be had."""
    divisors = [n for n in range(1, chips + 1) if chips % n == 0]
    tori = [
        sides
        for sides in itertools.combinations_with_replacement(divisors, chip.torus)
        if math.prod(sides) == chips
    ]

    def stretched(sides: tuple[int, ...]) -> tuple[bool, int]:
        return chip.torus == 3 and any(side % 4 for side in sides), sum(sides)

    return min(tori, key=stretched)


def case_of(run: Run) -> Case:
    """The run with our program's collectives, but that replicas add up once a step, and its own
    recomputation and attention kernel; of a pipeline the fullest stage. A torus that is not
    published is the nearest to a cube."""
    chip = CHIPS[run.chip]
    if run.network_bandwidth is not None:
        chip = chip._replace(network_bandwidth=run.network_bandwidth)
    stages = run.sizes.get("stage", 1)
    model = run.model.with_depth(-(-run.model.depth // stages))
    train = TrainConfig(steps=1, batch_size=run.batch_size, accumulation=run.accumulation)
    kernel = kernel_named("xla" if run.scores else "cudnn")
    device = device_step(model, train, run.length, run.sizes, chip.platform, packed=False)._replace(
        scores_share=1.0 if run.scores else 0.5,
        keeps_scores=run.scores,
        recomputed=run.again,
        attention_passes=kernel.passes + run.attend_again,
    )
    shape = run.shape
    if chip.torus and not shape:
        shape = cube(chip, chips_of(run) // run.sizes.get("replica", 1))
    work = work_of(model, train, run.length, device)
    once = tuple(
        dataclasses.replace(part, bytes=part.bytes / run.accumulation)
        if part.axes == ("replica",)
        else part
        for part in work.collectives
    )
    return Case(
        work=work._replace(collectives=once),
        chip=chip,
        placement=place(chip, run.sizes, shape),
        bubble=(stages - 1) / (run.accumulation * run.chunks),
        seconds=published(run),
    )


def chips_of(run: Run) -> int:
    return math.prod(run.sizes.values())


def published(run: Run) -> float:
    """Seconds of a step, from the figure that was published and the way it counts."""
    if run.unit == "seconds a step":
        return run.figure
    tokens = run.batch_size * run.length / chips_of(run)
    if run.unit == "tokens/s a chip":
        return tokens / run.figure
    model = run.model
    heads, head_dim = model.attended[:2]
    hidden = 6 * model.depth * heads * head_dim * run.length
    flops = flops_per_token(model, run.length)
    if run.scores_counted == "twice":
        flops += hidden
    if run.recomputation_counted:
        flops += 2 * matrix_parameters(model) + 2 / 3 * hidden
    return tokens * flops / (run.figure * 1e12)
