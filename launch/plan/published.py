"""The roofline against published runs: `python -m launch.plan.published docs/plan.md` fits its
efficiencies on every other run and writes predicted against published into the page.
"""

import dataclasses
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from launch.plan.arithmetic import PASSES, sizes_of, work_of
from launch.plan.chips import CHIPS, Chip
from launch.plan.efficiency import MATMUL, SHARED, Efficiency, Shared, efficiency
from launch.plan.placement import Placement, cube, place
from launch.plan.published_gpu import GPU_RUNS
from launch.plan.published_run import Run
from launch.plan.published_tpu import TPU_RUNS
from launch.plan.roofline import step_time
from launch.plan.work import Work
from model.flops import flops_per_token, matrix_parameters
from train.config import TrainConfig

RUNS: tuple[Run, ...] = (*TPU_RUNS, *GPU_RUNS)
FITTED, JUDGED = RUNS[0::2], RUNS[1::2]
BEGIN, END = "<!-- published: begin -->\n", "<!-- published: end -->\n"


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


def case_of(run: Run) -> Case:
    """The run with our program's collectives, but that replicas add up once a step, and its own
    recomputation and attention kernel; of a pipeline the fullest stage. A torus that is not
    published is the nearest to a cube."""
    chip = CHIPS[run.chip]
    if run.network_bandwidth is not None:
        chip = chip._replace(network_bandwidth=run.network_bandwidth)
    stages = run.sizes.get("stage", 1)
    model = dataclasses.replace(run.model, num_layers=-(-run.model.num_layers // stages))
    train = TrainConfig(steps=1, batch_size=run.batch_size, accumulation=run.accumulation)
    one = sizes_of(model, train, run.length, run.sizes, chip, packed=False)._replace(
        keys=1.0 if run.scores else 0.5,
        scores=run.scores,
        again=run.again,
        attention=PASSES["xla" if run.scores else "cudnn"] + run.attend_again,
    )
    shape = run.shape
    if chip.torus and not shape:
        shape = cube(chip, chips_of(run) // run.sizes.get("replica", 1))
    work = work_of(model, train, run.length, one)
    once = tuple(
        part._replace(bytes=part.bytes / run.accumulation) if part.axes == ("replica",) else part
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
    hidden = 6 * model.num_layers * model.num_heads * model.head_dim * run.length
    flops = flops_per_token(model, run.length)
    if run.scores_counted == "twice":
        flops += hidden
    if run.recomputation_counted:
        flops += 2 * matrix_parameters(model) + 2 / 3 * hidden
    return tokens * flops / (run.figure * 1e12)


def fit(runs: Sequence[Run]) -> tuple[dict[str, float], dict[str, Shared]]:
    """Efficiencies of chips and platforms that make the errors of those runs small, three digits.

    The logarithms' squares are added, those of far runs softened from 5 % on.
    """
    chips, platforms = sorted({run.chip for run in runs}), sorted(SHARED)
    cases = [case_of(run) for run in runs]

    def shares(values: np.ndarray, case: Case) -> Efficiency:
        first = len(chips) + len(Shared._fields) * platforms.index(case.chip.platform)
        matmul = values[chips.index(case.chip.name)]
        return Efficiency(matmul, *values[first : first + len(Shared._fields)])

    def errors(values: np.ndarray) -> list[float]:
        return [math.log1p(case.error(shares(values, case))) for case in cases]

    count = len(chips) + len(Shared._fields) * len(platforms)
    found = least_squares(
        errors, np.full(count, 0.6), bounds=(0.01, 1.0), loss="soft_l1", f_scale=0.05
    ).x
    numbers = [round(float(number), 3) for number in found]
    rest = iter(numbers[len(chips) :])
    shared = {name: Shared(*(next(rest) for _ in Shared._fields)) for name in platforms}
    return dict(zip(chips, numbers, strict=False)), shared


def table() -> str:
    """Predicted against published, with the errors' medians, as Markdown."""
    lines = [
        "| run | mesh | published | predicted | error | used to |",
        "|---|---|---|---|---|---|",
    ]
    errors: dict[str, list[float]] = {}
    for run in RUNS:
        case = case_of(run)
        shares = efficiency(case.chip)
        error, role = case.error(shares), "fit" if run in FITTED else "judge"
        if role == "judge":
            for group in ("all", case.chip.platform.upper()):
                errors.setdefault(group, []).append(abs(error))
        mesh = " x ".join(f"{axis} {size}" for axis, size in run.sizes.items() if size > 1)
        lines.append(
            f"| {run.name} | {mesh} | {_shown(run, case.seconds)} "
            f"| {_shown(run, case.predicted(shares))} | {error:+.1%} | {role} |"
        )
    lines += ["", "| judged runs | number | median error | largest |", "|---|---|---|---|"]
    lines += [
        f"| {group} | {len(found)} | {statistics.median(found):.1%} | {max(found):.1%} |"
        for group, found in errors.items()
    ]
    sources = {run.source: None for run in RUNS}
    lines += ["", "Sources: " + "; ".join(sources) + "."]
    return "\n".join(lines) + "\n"


def _shown(run: Run, seconds: float) -> str:
    """Seconds, and MFU as the plan counts it."""
    flops = run.batch_size * run.length * flops_per_token(run.model, run.length)
    return f"{seconds:.3g} s, {flops / seconds / chips_of(run) / CHIPS[run.chip].matmul_flops:.1%}"


def rewritten(page: str) -> str:
    """The page with a new table between its marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]


def drift(matmul: dict[str, float], shared: dict[str, Shared]) -> float:
    """The largest difference between efficiencies and the committed ones."""
    found = [matmul[chip] - share for chip, share in MATMUL.items()]
    for platform, shares in SHARED.items():
        found += [a - b for a, b in zip(shared[platform], shares, strict=True)]
    return max(map(abs, found))


if __name__ == "__main__":
    fitted = fit(FITTED)
    # Another machine may round the last digit otherwise.
    if drift(*fitted) > 0.002:
        sys.exit(f"launch/plan/efficiency.py must be changed to\n{fitted[0]}\n{fitted[1]}")
    page = Path(sys.argv[1])
    page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
