"""The layout a run is fastest in: all of them by arithmetic, the few best by the compiler."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data.errors import UserError
from launch.config import RunConfig
from launch.plan.compiler import CompilerFailed
from launch.plan.enough import advice
from launch.plan.given import require_no_mesh
from launch.plan.layouts import OFFLOAD, flags, layouts
from launch.plan.plan import Plan, make_plan
from launch.plan.timing import device_of, time_of
from launch.plan.topology import Topology
from train.memory import step_memory
from train.report.numbers import GIB

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
    failed: list[tuple[Estimate, str]]
    """Those that the compiler failed for, with what is told of it."""
    best: Plan
    """The fastest of those that fit, by what the compiler says of all of them."""


def search(
    config: RunConfig,
    topology: Topology,
    folder: Path,
    report: Report,
    *,
    price: float | None = None,
) -> Search:
    """Estimate every layout of `config` on the topology, compile the best, and take the fastest.

    What the compiler says of a layout's memory corrects the estimates of those that recompute the
    same. A layout that the compiler fails for is set aside. Raises ValueError if no layout cuts the
    batch, or none of those compiled fits.
    """
    require_no_mesh(config, "--search")
    report(f"estimating all layouts on {topology.told}")
    estimates = sorted(estimates_of(config, topology), key=_order)
    plans: list[tuple[Estimate, Plan]] = []
    failed: list[tuple[Estimate, str]] = []
    fitting: list[Plan] = []
    for number in range(1, COMPILED + 1):
        estimate = next_of(estimates, topology, plans, failed)
        if estimate is None:
            break
        report(f"compiling layout {number} of at most {COMPILED}: {flags(estimate.config, config)}")
        try:
            plan = make_plan(estimate.config, topology, folder / f"layout-{number}", price=price)
        except CompilerFailed as error:
            report(f"set aside: {error}")
            failed.append((estimate, str(error)))
        else:
            plans.append((estimate, plan))
            if fits(plan):
                fitting.append(plan)
        if len(fitting) == FITTING:
            break
    if not plans:
        raise CompilerFailed(failed[-1][1])
    if not fitting:
        raise nothing_fits(config, topology, estimates, plans)
    return Search(estimates, plans, failed, min(fitting, key=lambda plan: plan.time.seconds))


def estimates_of(config: RunConfig, topology: Topology) -> Iterator[Estimate]:
    """Every layout that the topology can hold as a mesh, with its memory and time by arithmetic."""
    length, packed = config.data.sequence_length, config.data.packing
    for found in layouts(config, topology.devices, topology.slices):
        sizes = dataclasses.asdict(found.mesh)
        held = step_memory(
            found.model, found.train, length, sizes, topology.chip.platform, packed=packed
        )
        yield Estimate(found, held.total, time_of(found, sizes, topology).seconds)


def fits(plan: Plan) -> bool:
    """Whether the compiler found room, if need be by a process that may take more of a GPU."""
    return plan.fit.verdict != "does not fit"


def _order(estimate: Estimate) -> tuple[int, float]:
    return round(math.log(estimate.seconds) / ALIKE), estimate.bytes


def next_of(
    estimates: list[Estimate],
    topology: Topology,
    plans: list[tuple[Estimate, Plan]],
    failed: list[tuple[Estimate, str]],
) -> Estimate | None:
    """The layout to compile next: the first of the estimates that seems to fit by what is known.

    Of those that cut and recompute a layer the same, no other is compiled once one fits, as they
    differ in what arithmetic tells well, or once the compiler failed for one.
    """
    device, _ = device_of(topology)
    corrected = {e.config.model.remat: plan.fit.peak / e.bytes for e, plan in plans}
    done = {_kind(e) for e, plan in plans if fits(plan)} | {_kind(e) for e, _ in failed}
    tried = [id(e) for e, _ in plans]
    left = [e for e in estimates if _kind(e) not in done and id(e) not in tried]

    def corrected_bytes(e: Estimate) -> float:
        return e.bytes * corrected.get(e.config.model.remat, 1.0)

    room = (e for e in left if corrected_bytes(e) <= device.memory)
    return next(room, None) or min(left, key=corrected_bytes, default=None)


def _kind(estimate: Estimate) -> tuple[int, str]:
    return estimate.config.mesh.tensor, estimate.config.model.remat


def nothing_fits(
    config: RunConfig,
    topology: Topology,
    estimates: list[Estimate],
    plans: list[tuple[Estimate, Plan]],
) -> UserError:
    """The error for a search whose plans all lack room, with chips that would do by arithmetic as
    the compiler corrected it here."""
    estimate, plan = min(plans, key=lambda tried: tried[1].fit.peak)
    fit = plan.fit
    room = fit.most * estimate.bytes / fit.peak
    more = advice(config, topology.chip, room, beyond=topology.chips)
    return UserError(
        f"on={topology.name} must have a layout that fits, because a step needs its memory at "
        f"once, but of {len(estimates):,} layouts the {len(plans)} that promised most were "
        f"compiled, and the least of them takes {fit.peak / GIB:,.1f} GiB of "
        f"{fit.most / GIB:,.1f} GiB a device (compiler); {OFFLOAD}; {more}"
    )
