"""The layout a run is fastest in: all of them by arithmetic, the few best by the compiler."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launch.config import RunConfig
from launch.plan.arithmetic import memory, work
from launch.plan.efficiency import efficiency
from launch.plan.layouts import layouts
from launch.plan.placement import place
from launch.plan.plan import Plan, make_plan
from launch.plan.roofline import step_time
from launch.plan.topology import Topology

FITTING, COMPILED = 3, 6
"""Layouts that are compiled: until so many fit, and at most."""
ALIKE = 0.01
"""Share of the step time by which layouts are not told apart before they are compiled."""

Report = Callable[[str], None]
"""Told of what is done."""


@dataclass(frozen=True)
class Estimate:
    """A layout by arithmetic alone."""

    config: RunConfig
    bytes: float
    """Of a device at the step's peak."""
    seconds: float
    """Of a step."""


@dataclass(frozen=True)
class Search:
    """What became of every layout."""

    estimates: list[Estimate]
    """The fastest first."""
    plans: list[tuple[Estimate, Plan]]
    """Those that were compiled, in that order."""
    best: Plan
    """The fastest of those that fit, by what the compiler says of all of them."""


def search(config: RunConfig, topology: Topology, folder: Path, report: Report) -> Search:
    """Estimate every layout of `config` on the topology, compile the best, and take the fastest.

    What the compiler says of a layout's memory corrects the estimates of those that recompute the
    same. Raises ValueError if no layout cuts the batch, or none of those compiled fits.
    """
    estimates = sorted(estimates_of(config, topology), key=_order)
    report(f"{len(estimates):,} layouts by arithmetic; compiling the best")
    plans: list[tuple[Estimate, Plan]] = []
    fitting: list[Plan] = []
    for estimate in _candidates(estimates, topology, plans):
        plan = make_plan(estimate.config, topology, folder / f"layout-{len(plans) + 1}")
        plans.append((estimate, plan))
        report(_told(estimate, plan))
        if plan.fits:
            fitting.append(plan)
        if len(fitting) == FITTING or len(plans) == COMPILED:
            break
    if not fitting:
        raise _nothing_fits(topology, estimates, plans)
    return Search(estimates, plans, min(fitting, key=lambda plan: plan.time.seconds))


def estimates_of(config: RunConfig, topology: Topology) -> Iterator[Estimate]:
    """Every layout that the topology can hold as a mesh, with its memory and time by arithmetic."""
    chip, length = topology.chip, config.data.sequence_length
    shares = efficiency(chip)
    shape = topology.shape if chip.torus else ()
    for found in layouts(config, topology.chips, topology.slices):
        sizes = {"replica": found.mesh.replica, "fsdp": found.mesh.fsdp, "tensor": found.mesh.tensor}
        asked = (found.model, found.train, length, sizes, chip)
        packed = found.data.packing
        time = step_time(work(*asked, packed=packed), chip, place(chip, sizes, shape), shares)
        yield Estimate(found, memory(*asked, packed=packed).total, time.seconds)


def _order(estimate: Estimate) -> tuple[int, float]:
    return round(math.log(estimate.seconds) / ALIKE), estimate.bytes


def _candidates(
    estimates: list[Estimate], topology: Topology, plans: list[tuple[Estimate, Plan]]
) -> Iterator[Estimate]:
    """Layouts to compile, the fastest first of those that seem to fit by what is known then.

    Of one mesh with the same recomputation, micro-batches of another size are not compiled once
    one fits.
    """
    left = list(estimates)
    while left:
        corrected = {e.config.model.remat: plan.fit.peak / e.bytes for e, plan in plans}
        done = {_kind(e) for e, plan in plans if plan.fits}
        left = [e for e in left if _kind(e) not in done]

        def corrected_bytes(e: Estimate, by: dict[str, float] = corrected) -> float:
            return e.bytes * by.get(e.config.model.remat, 1.0)

        room = (e for e in left if corrected_bytes(e) <= topology.chip.memory)
        if not (chosen := next(room, None) or min(left, key=corrected_bytes, default=None)):
            return
        left.remove(chosen)
        yield chosen


def _kind(estimate: Estimate) -> tuple[object, str]:
    return estimate.config.mesh, estimate.config.model.remat


def _nothing_fits(
    topology: Topology, estimates: list[Estimate], plans: list[tuple[Estimate, Plan]]
) -> ValueError:
    least = min(plan.fit.peak for _, plan in plans)
    return ValueError(
        f"on={topology.name} must have a layout that fits, because a step needs its memory at "
        f"once, but of {len(estimates):,} layouts the {len(plans)} that promised most were "
        f"compiled, and the least of them takes {least / GIB:,.1f} GiB of "
        f"{topology.chip.memory / GIB:,.1f} GiB a chip; try more chips, or a smaller batch"
    )
