"""A plan as text of at most 80 columns and as JSON."""

from pathlib import Path
from typing import Any

from launch.config import to_dict
from launch.plan.domain import standing_of
from launch.plan.domain_table import domain_json, domain_lines
from launch.plan.memory import Fit
from launch.plan.plan import Plan
from launch.plan.time_table import source_of, time_lines
from launch.plan.topology import Topology
from launch.plan.traffic_table import record, traffic_lines
from launch.process.mesh import shown
from launch.process.typed import near
from model.flops import parameter_count
from model.sharding import batch_shards
from train.report.numbers import GIB, size_unit

CUDNN = "without cuDNN's workspace, whose size only a GPU tells"


def as_text(plan: Plan, folder: Path) -> str:
    """All parts, one below the other; the plan's own files lie in `folder`."""
    run, train = plan.config, plan.config.train
    rows, length = train.batch_size, run.data.sequence_length
    micro = f" in {train.accumulation} micro-batches" if train.accumulation > 1 else ""
    lines = [
        f"{run.preset}, {parameter_count(run.model):,} parameters, on {plan.topology.told}",
        f"mesh: {shown(plan.mesh)}; remat {run.model.remat}, attention {plan.attention}",
        f"batch: {rows:,} rows of {length:,} tokens = {rows * length:,} tokens{micro}",
        "",
        *fit_lines(plan.fit, plan.topology),
        *(_remedies(plan) if plan.fit.verdict == "does not fit" else []),
        *([CUDNN] if plan.attention == "cudnn" else []),
        "",
        *time_lines(plan.time, plan.course, plan.topology, host=plan.fit.host),
        *domain_lines([standing_of(run, plan.topology)]),
        "",
        *(traffic_lines(plan.traffic) if plan.traffic else []),
        f"compiled in {plan.seconds:.0f} s, by a process of {plan.rss / GIB:.1f} GiB and "
        f"{plan.cpu_seconds:.0f} s of CPU",
        f"files: {near(folder)}",
        *([f"of the compiler: {near(plan.folder)}"] if plan.folder != folder else []),
    ]
    return "\n".join(lines)


def as_json(plan: Plan) -> dict[str, Any]:
    """The same, with all digits."""
    fit, topology = plan.fit, plan.topology
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
        "mesh": plan.mesh,
        "attention": plan.attention,
        "fit": {
            **fit._asdict(),
            "parts": [part._asdict() for part in fit.parts],
            "origins": {
                "peak": _peak_from(fit),
                "limit": _limit_from(topology),
                "host": "compiler",
            },
        },
        "time": {
            **plan.time._asdict(),
            "communication": [
                {**part._asdict(), "seconds": part.seconds} for part in plan.time.communication
            ],
            "exposed": plan.time.exposed,
            "seconds": plan.time.seconds,
        },
        "domain": domain_json(standing_of(plan.config, topology)),
        "traffic": None if plan.traffic is None else record(plan.traffic),
        "course": {**plan.course._asdict(), "origin": source_of(plan.time)},
        "compiler": {
            "seconds": plan.seconds,
            "cpu_seconds": plan.cpu_seconds,
            "rss": plan.rss,
            "folder": str(plan.folder),
            "hlo": None if plan.hlo is None else str(plan.hlo),
        },
    }


def fit_lines(fit: Fit, topology: Topology) -> list[str]:
    """The table of what fills a device."""
    many = topology.devices_per_chip
    each = "a chip" if many == 1 else f"each of {many} devices of a chip"
    measure, factor = size_unit(fit.peak)

    def line(name: str, size: int, origin: str) -> str:
        share = f"{size / fit.limit:.1%}" if size < 10 * fit.limit else "> 999%"
        return f"{name:<36}{size / factor:>10,.2f}{share:>9}   {origin}"

    head = f"{'memory of ' + each:<36}{measure:>10}{'share':>9}   from"
    ruler = "-" * len(head)
    lines = [head, ruler, *(line(part.name, part.bytes, part.origin) for part in fit.parts), ruler]
    name = "peak" if fit.verdict != "does not fit" else "wanted"
    lines.append(line(name, fit.peak, _peak_from(fit)))
    lines.append(line("there is", fit.limit, _limit_from(topology)))
    if fit.host:
        lines.append(line("in the host's memory", fit.host, "compiler"))
    return [*lines, "", *_verdict(fit)]


def _remedies(plan: Plan) -> list[str]:
    """What may make room."""
    run = plan.config
    rows = run.train.batch_size // batch_shards(plan.mesh)
    found = ["--model.remat full"] if run.model.remat != "full" else []
    found += ["more --train.accumulation"] if run.train.accumulation < rows else []
    before = f"{', '.join(found)}, or " if found else ""
    return [
        f"try {before}--search without a mesh;",
        "the time below is what it would take with room",
    ]


def _peak_from(fit: Fit) -> str:
    return "compiler" if fit.whole else "compiler, arithmetic"


def _limit_from(topology: Topology) -> str:
    return "compiler" if topology.chip.platform == "tpu" else "CUDA's figure"


def _verdict(fit: Fit) -> list[str]:
    if fit.share == 1:
        return [fit.verdict]
    may = f"JAX takes {fit.share:.0%} of a GPU, {fit.share * fit.limit / GIB:.2f} GiB"
    if fit.variable is None:
        return [f"{fit.verdict}: {may}"]
    return [f"{may};", f"fits with {fit.variable} or more"]
