"""A search as text of at most 80 columns and as JSON."""

import dataclasses
from typing import Any

from launch.config import RunConfig
from launch.plan.layouts import flags
from launch.plan.plan import Plan
from launch.plan.search import Estimate, Search, fits
from launch.process.mesh import shown
from train.report.numbers import GIB

HEAD = f"{'':<30}{'micro-':>8}{'GiB a device':>19}{'seconds a step':>19}\n"
HEAD += f"{'mesh':<23}{'remat':<7}{'batches':>8}"
HEAD += f"{'arithm.':>9}{'compiler':>10}{'arithm.':>9}{'compiled':>10}"


def as_text(search: Search, given: RunConfig) -> str:
    """Every layout that was compiled, and the flags of the best."""
    return "\n".join(
        [
            f"{len(search.estimates):,} layouts, the best by arithmetic compiled:",
            "",
            HEAD,
            "-" * 76,
            *(_line(estimate, plan, search) for estimate, plan in search.plans),
            *(
                f"{_layout(estimate)}{estimate.bytes / GIB:>9.1f}{'failed':>10}"
                f"{estimate.seconds:>9.3g}{'':>10}"
                for estimate, _ in search.failed
            ),
            "",
            "* the fastest of those that fit; to have it:",
            *([f"  export {variable}"] if (variable := search.best.fit.variable) else []),
            *_lines(flags(search.best.config, given)),
        ]
    )


def _lines(told: str) -> list[str]:
    """Flags as a shell reads them over several lines, each of at most 80 columns."""
    lines = [""]
    for flag in told.split(" --"):
        flag = flag if flag.startswith("--") else f"--{flag}"
        if len(lines[-1]) + len(flag) > 74:
            lines.append("")
        lines[-1] += f" {flag}"
    return [f" {line} \\" for line in lines[:-1]] + [f" {lines[-1]}"]


def as_json(search: Search, given: RunConfig) -> dict[str, Any]:
    """The same, with all digits, and the estimates of all layouts."""
    return {
        "flags": flags(search.best.config, given),
        "environment": search.best.fit.variable,
        "layouts": [_estimated(estimate) for estimate in search.estimates],
        "compiled": [
            {
                **_estimated(estimate),
                "compiler_bytes": plan.fit.peak,
                "verdict": plan.fit.verdict,
                "compiled_seconds": plan.time.seconds if fits(plan) else None,
                "folder": str(plan.folder),
            }
            for estimate, plan in search.plans
        ],
        "failed": [
            {**_estimated(estimate), "message": message} for estimate, message in search.failed
        ],
    }


def _estimated(estimate: Estimate) -> dict[str, Any]:
    mesh, config = estimate.config.mesh, estimate.config
    return {
        "mesh": {"replica": mesh.replica, "fsdp": mesh.fsdp, "tensor": mesh.tensor},
        "remat": config.model.remat,
        "accumulation": config.train.accumulation,
        "arithmetic_bytes": estimate.bytes,
        "arithmetic_seconds": estimate.seconds,
    }


def _layout(estimate: Estimate) -> str:
    config = estimate.config
    axes = shown(dataclasses.asdict(config.mesh)).replace(" x ", " ")
    axes = axes.replace("replica", "rep").replace("tensor", "tp")
    return f"{axes:<23}{config.model.remat:<7}{config.train.accumulation:>8}"


def _line(estimate: Estimate, plan: Plan, search: Search) -> str:
    seconds = f"{plan.time.seconds:.3g}" if fits(plan) else "no room"
    mark = " *" if plan is search.best else ""
    return (
        f"{_layout(estimate)}{estimate.bytes / GIB:>9.1f}{plan.fit.peak / GIB:>10.1f}"
        f"{estimate.seconds:>9.3g}{seconds:>10}{mark}"
    )
