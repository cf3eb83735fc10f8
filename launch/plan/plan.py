"""All that is told of a run on a cluster before it is there: one record, made in one place."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from data.errors import UserError
from launch.config import MeshConfig, RunConfig
from launch.plan.compiled import Read, read
from launch.plan.compiler import Compiled, compile_step
from launch.plan.hlo import Program
from launch.plan.memory import Fit, fit_of, require_possible
from launch.plan.roofline import Course, StepTime
from launch.plan.share import share_of
from launch.plan.timing import course_of, time_of
from launch.plan.topology import Topology
from launch.plan.traffic import Traffic, traffic
from launch.process.mesh import axis_sizes


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run on a topology. What comes from arithmetic and what from the compiler is marked in each
    part."""

    config: RunConfig
    topology: Topology
    mesh: dict[str, int]
    attention: str
    """The kernel."""
    fit: Fit
    read: Read | None
    """What the compiled program asks of a device, if it fits."""
    traffic: Traffic | None
    """What that program sends, beside what its layout needs."""
    time: StepTime
    course: Course
    seconds: float
    """That the compiler took."""
    cpu_seconds: float
    """Of the compiling process, over all cores."""
    rss: int
    """Bytes that the compiling process held at most."""
    folder: Path
    """Where the compiled program and what the compiler said lie."""
    hlo: Path | None
    """The compiled program as text, if it fits."""


def make_plan(
    config: RunConfig, topology: Topology, folder: Path, *, price: float | None = None
) -> Plan:
    """Compile the train step of `config` for the topology and tell what is known of it; `price` is
    that of a chip-hour.

    Raises ValueError if no layout can hold the model, for a layout that is not given or does not
    suit, for a dtype without a known peak, and if the compiler is missing or fails.
    """
    require_possible(config, topology)
    require_layout(config, topology)
    # What could not be told of the compiled program is refused before a minute goes into it.
    share_of(topology)
    time_of(config, axis_sizes(config.mesh, topology.devices), topology)
    result = compile_step(config, topology, folder)
    compiled = isinstance(result, Compiled)
    found = read(Program(result.hlo.read_text(encoding="utf-8")), result.mesh) if compiled else None
    time = time_of(config, result.mesh, topology, found)
    return Plan(
        config=config,
        topology=topology,
        mesh=result.mesh,
        attention=result.attention,
        fit=fit_of(result, topology),
        read=found,
        traffic=traffic(found, config, result.mesh) if found else None,
        time=time,
        course=course_of(config, topology, time.seconds, price),
        seconds=result.seconds,
        cpu_seconds=result.cpu_seconds,
        rss=result.rss,
        folder=folder,
        hlo=result.hlo if compiled else None,
    )


def require_layout(config: RunConfig, topology: Topology) -> None:
    """ValueError if the mesh is that of no flags at all: how a run is cut is what is planned."""
    if config.mesh == MeshConfig() and topology.devices > 1:
        example = dataclasses.replace(config.mesh, fsdp=topology.devices)
        raise UserError(
            f"mesh.fsdp=-1 must be given with {topology.devices:,} devices, because how the run is "
            "cut decides what it needs; "
            f"try --mesh.fsdp {example.fsdp}, with --mesh.tensor or --mesh.replica, or --search"
        )
