"""The layout a run is fastest in: all of them by arithmetic, the few best by the compiler."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import UserError
from launch.config import RunConfig
from launch.plan.compiler import CompilerFailed
from launch.plan.estimate import LayoutEstimate, advice, estimates
from launch.plan.layouts import OFFLOAD, flags
from launch.plan.plan import Plan, make_plan
from launch.plan.roofline import device_of
from launch.plan.topology import Topology
from launch.process.mesh import shown
from train.report.numbers import GIB

FITTING, COMPILED = 3, 6
"""Layouts that are compiled: until so many fit, and at most."""
ALIKE = 0.01
"""Share of the step time by which layouts do not differ before they are compiled."""
HEAD = f"""\
{"":<30}{"micro-":>8}{"GiB a device":>19}{"seconds a step":>19}
{"mesh":<23}{"remat":<7}{"batches":>8}{"arithm.":>9}{"compiler":>10}{"arithm.":>9}{"compiled":>10}"""
Compiled = Sequence[tuple[LayoutEstimate, Plan]]
Failed = Sequence[tuple[LayoutEstimate, str]]


@dataclass(frozen=True)
class Search:
    """What became of every layout."""

    estimates: list[LayoutEstimate]
    """The fastest first."""
    plans: Compiled
    """Those that were compiled, in that order."""
    failed: Failed
    """Those that the compiler failed for, with what it said."""
    best: Plan
    """The fastest of those that fit, by what the compiler says of all of them."""


def search(
    config: RunConfig,
    topology: Topology,
    folder: Path,
    report: Callable[[str], None],
    *,
    price: float | None = None,
) -> Search:
    """Estimate every layout of `config` on the topology, compile the best, and take the fastest.

    What the compiler says of a layout's memory corrects the estimates of those that recompute the
    same. A layout that the compiler fails for is set aside. `report` is called with what is done.
    Raises ValueError if no layout cuts the batch, or none of those compiled fits.
    """
    report(f"estimating all layouts on {topology.words}")
    every = sorted(
        estimates(config, topology),
        key=lambda e: (round(math.log(e.time.seconds) / ALIKE), e.bytes),
    )
    plans: list[tuple[LayoutEstimate, Plan]] = []
    failed: list[tuple[LayoutEstimate, str]] = []
    for number in range(1, COMPILED + 1):
        estimate = next_of(every, topology, plans, failed)
        if estimate is None or sum(plan.fit.fits for _, plan in plans) == FITTING:
            break
        report(f"compiling layout {number} of at most {COMPILED}: {flags(estimate.config, config)}")
        try:
            plan = make_plan(estimate.config, topology, folder / f"layout-{number}", price=price)
        except CompilerFailed as error:
            report(f"set aside: {error}")
            failed.append((estimate, str(error)))
        else:
            plans.append((estimate, plan))
    if not plans:
        raise CompilerFailed(failed[-1][1])
    fitting = [plan for _, plan in plans if plan.fit.fits]
    if not fitting:
        raise nothing_fits(config, topology, every, plans)
    return Search(every, plans, failed, min(fitting, key=lambda plan: plan.time.seconds))


def next_of(
    every: Sequence[LayoutEstimate], topology: Topology, plans: Compiled, failed: Failed
) -> LayoutEstimate | None:
    """The layout to compile next: the first of the estimates that seems to fit by what is known.

    Of those that cut and recompute a layer the same, no other is compiled once one fits, as they
    differ in what arithmetic predicts well, or once the compiler failed for one.
    """
    device, _ = device_of(topology)
    factors = {e.config.model.remat: plan.fit.peak / e.bytes for e, plan in plans}
    done = {_kind(e) for e, plan in plans if plan.fit.fits} | {_kind(e) for e, _ in failed}
    tried = [id(e) for e, _ in plans]
    left = [e for e in every if _kind(e) not in done and id(e) not in tried]

    def corrected(e: LayoutEstimate) -> float:
        return e.bytes * factors.get(e.config.model.remat, 1.0)

    room = (e for e in left if corrected(e) <= device.memory)
    return next(room, None) or min(left, key=corrected, default=None)


def _kind(estimate: LayoutEstimate) -> tuple[int, str]:
    return estimate.config.mesh.tensor, estimate.config.model.remat


def nothing_fits(
    config: RunConfig, topology: Topology, every: Sequence[LayoutEstimate], plans: Compiled
) -> UserError:
    """The error for a search whose plans all lack room, with chips that would do by arithmetic as
    the compiler corrected it here."""
    estimate, plan = min(plans, key=lambda tried: tried[1].fit.peak)
    fit = plan.fit
    room = fit.most * estimate.bytes / fit.peak
    more = advice(config, topology.chip, room, beyond=topology.chips)
    return UserError(
        f"on={topology.name} must have a layout that fits, because a step needs its memory at "
        f"once, but of {len(every):,} layouts the {len(plans)} that promised most were "
        f"compiled, and the smallest of them takes {fit.peak / GIB:,.1f} GiB of "
        f"{fit.most / GIB:,.1f} GiB a device (compiler); {OFFLOAD}; {more}"
    )


def search_text(search: Search, config: RunConfig) -> str:
    """Every layout that was compiled, and the flags of the best, in at most 80 columns."""
    lines = [f"{len(search.estimates):,} layouts, the best by arithmetic compiled:", "", HEAD]
    lines.append("-" * 76)
    for estimate, plan in search.plans:
        seconds = f"{plan.time.seconds:.3g}" if plan.fit.fits else "no room"
        mark = " *" if plan is search.best else ""
        lines.append(_line(estimate, f"{plan.fit.peak / GIB:.1f}", seconds) + mark)
    lines += [_line(estimate, "failed", "") for estimate, _ in search.failed]
    lines += ["", "* the fastest of those that fit; to have it:"]
    if variable := search.best.fit.variable:
        lines.append(f"  export {variable}")
    pasted = [""]
    for flag in flags(search.best.config, config).split(" --"):
        flag = f" --{flag.removeprefix('--')}"
        if len(pasted[-1]) + len(flag) > 75:
            pasted.append("")
        pasted[-1] += flag
    return "\n".join([*lines, " \\\n".join(f" {line}" for line in pasted)])


def _line(estimate: LayoutEstimate, memory: str, seconds: str) -> str:
    config = estimate.config
    axes = shown(dataclasses.asdict(config.mesh)).replace(" x ", " ")
    axes = axes.replace("replica", "rep").replace("tensor", "tp")
    return (
        f"{axes:<23}{config.model.remat:<7}{config.train.accumulation:>8}"
        f"{estimate.bytes / GIB:>9.1f}{memory:>10}{estimate.time.seconds:>9.3g}{seconds:>10}"
    )


def search_json(search: Search, config: RunConfig) -> dict[str, Any]:
    """The same, with all digits, and the estimates of all layouts."""
    return {
        "flags": flags(search.best.config, config),
        "environment": search.best.fit.variable,
        "layouts": [_record(estimate) for estimate in search.estimates],
        "compiled": [
            {
                **_record(estimate),
                "compiler_bytes": plan.fit.peak,
                "verdict": plan.fit.verdict,
                "compiled_seconds": plan.time.seconds if plan.fit.fits else None,
                "folder": str(plan.step.folder),
            }
            for estimate, plan in search.plans
        ],
        "failed": [
            {**_record(estimate), "message": message} for estimate, message in search.failed
        ],
    }


def _record(estimate: LayoutEstimate) -> dict[str, Any]:
    mesh, config = estimate.config.mesh, estimate.config
    return {
        "mesh": {"replica": mesh.replica, "fsdp": mesh.fsdp, "tensor": mesh.tensor},
        "remat": config.model.remat,
        "accumulation": config.train.accumulation,
        "arithmetic_bytes": estimate.bytes,
        "arithmetic_seconds": estimate.time.seconds,
    }
