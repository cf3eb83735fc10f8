"""All that is predicted of a run on a cluster before it is there, in one record; as text and as
JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.errors import UserError
from launch.config import MeshConfig, RunConfig, to_dict
from launch.plan.compiler import CompiledStep, compile_step
from launch.plan.memory import (
    MemoryFit,
    fit_lines,
    fit_of,
    limit_origin,
    require_possible,
    share_of,
)
from launch.plan.program.compiled import work_in
from launch.plan.program.hlo import Program
from launch.plan.published import standing_lines, standing_of
from launch.plan.roofline import RunTotals, StepTime, time_lines, time_of, totals_of
from launch.plan.topology import Topology
from launch.plan.traffic import Traffic, traffic, traffic_lines
from launch.process.mesh import axis_sizes, shown
from launch.process.typed import near
from model.flops import parameter_count
from model.sharding import batch_shards
from train.report.numbers import GIB


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run on a topology. What comes from arithmetic and what from the compiler is marked in each
    part."""

    config: RunConfig
    topology: Topology
    step: CompiledStep
    fit: MemoryFit
    traffic: Traffic | None
    """What the compiled program sends, and what its layout needs, if it fits."""
    time: StepTime
    totals: RunTotals


def make_plan(
    config: RunConfig, topology: Topology, folder: Path, *, price: float | None = None
) -> Plan:
    """Compile the train step of `config` for the topology and predict the run; `price` is that of a
    chip-hour.

    Raises ValueError if no layout has room for the model, for a layout that is missing or does not
    suit, for a dtype without a known peak, and if the compiler is missing or fails.
    """
    require_possible(config, topology)
    require_layout(config, topology)
    # What could not be predicted of the compiled program is refused before a minute goes into it.
    share_of(topology)
    time_of(config, axis_sizes(config.mesh, topology.devices), topology)
    step = compile_step(config, topology, folder)
    program = None
    if step.hlo is not None:
        program = work_in(Program(step.hlo.read_text(encoding="utf-8")), step.mesh)
    time = time_of(config, step.mesh, topology, program)
    return Plan(
        config=config,
        topology=topology,
        step=step,
        fit=fit_of(step, topology),
        traffic=traffic(program, config, step.mesh) if program else None,
        time=time,
        totals=totals_of(config, topology, time.seconds, price),
    )


def require_layout(config: RunConfig, topology: Topology) -> None:
    """ValueError if the mesh is that of no flags at all: how a run is cut is what is planned."""
    if config.mesh == MeshConfig() and topology.devices > 1:
        raise UserError(
            f"mesh.fsdp=-1 must be given with {topology.devices:,} devices, because how the run is "
            f"cut decides what it needs; try --mesh.fsdp {topology.devices}, with --mesh.tensor or "
            "--mesh.replica, or --search"
        )


def plan_text(plan: Plan, folder: Path) -> str:
    """All parts, one below the other, in at most 80 columns; the plan's own files lie in
    `folder`."""
    run, train, step = plan.config, plan.config.train, plan.step
    rows, length = train.batch_size, run.data.sequence_length
    workspace = "without cuDNN's workspace, whose size is known only on a GPU"
    micro = f" in {train.accumulation} micro-batches" if train.accumulation > 1 else ""
    lines = [
        f"{run.preset}, {parameter_count(run.model):,} parameters, on {plan.topology.words}",
        f"mesh: {shown(step.mesh)}; remat {run.model.remat}, attention {step.attention}",
        f"batch: {rows:,} rows of {length:,} tokens = {rows * length:,} tokens{micro}",
        "",
        *fit_lines(plan.fit, plan.topology),
        *([] if plan.fit.fits else _remedies(plan)),
        *([workspace] if step.attention == "cudnn" else []),
        "",
        *time_lines(plan.time, plan.totals, plan.topology, host=plan.fit.host),
        *standing_lines(run, [plan.topology]),
        "",
        *(traffic_lines(plan.traffic) if plan.traffic else []),
        f"compiled in {step.seconds:.0f} s, by a process of {step.rss / GIB:.1f} GiB and "
        f"{step.cpu_seconds:.0f} s of CPU",
        f"files: {near(folder)}",
        *([f"of the compiler: {near(step.folder)}"] if step.folder != folder else []),
    ]
    return "\n".join(lines)


def _remedies(plan: Plan) -> list[str]:
    """What may make room."""
    run = plan.config
    rows = run.train.batch_size // batch_shards(plan.step.mesh)
    remedies = ["--model.remat full"] if run.model.remat != "full" else []
    remedies += ["more --train.accumulation"] if run.train.accumulation < rows else []
    before = f"{', '.join(remedies)}, or " if remedies else ""
    return [
        f"try {before}--search without a mesh;",
        "the time below is what it would take with room",
    ]


def plan_json(plan: Plan) -> dict[str, Any]:
    """The same, with all digits."""
    topology, step = plan.topology, plan.step
    origins = {"peak": plan.fit.peak_origin, "limit": limit_origin(topology), "host": "compiler"}
    return {
        "config": to_dict(plan.config),
        "parameters": parameter_count(plan.config.model),
        "topology": {
            "name": topology.name,
            "chip": topology.chip.name,
            "chips": topology.chips,
            "slices": topology.slices,
            "shape": topology.shape,
            "devices": topology.devices,
        },
        "mesh": step.mesh,
        "attention": step.attention,
        "fit": {**asdict(plan.fit), "origins": origins},
        "time": plan.time.record,
        "domain": asdict(standing_of(plan.config, topology)),
        "traffic": plan.traffic.record if plan.traffic else None,
        "course": {**asdict(plan.totals), "origin": plan.time.source},
        "compiler": {
            "seconds": step.seconds,
            "cpu_seconds": step.cpu_seconds,
            "rss": step.rss,
            "folder": str(step.folder),
            "hlo": step.hlo and str(step.hlo),
        },
    }
