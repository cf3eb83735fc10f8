"""What `meshloom plan` predicts of one GPU next to what `tests.bench.gpu` measured on it, as a
table in Markdown: `python -m tests.bench.gpu_prediction LINES`, the JSON lines that it printed."""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import tyro

from launch.config import MeshConfig, RunConfig
from launch.plan.plan import Plan, make_plan
from launch.plan.topology import parse
from launch.presets.preset import preset
from launch.process.progress import Progress
from launch.schema.command_line import run_module
from tests.bench.gpu import SIZES, model_config
from train.report.numbers import GIB

HEAD = """\
| size | step, predicted | measured | off | peak, predicted | measured | off |
|---|---|---|---|---|---|---|"""


def main(lines: Annotated[Path, tyro.conf.Positional], on: str = "h200x1") -> None:
    """Print a row for each line.

    Args:
        lines: File of JSON lines.
        on: The GPU they were measured on.
    """
    print(HEAD)
    for line in lines.read_text(encoding="utf-8").splitlines():
        measured = json.loads(line)
        with tempfile.TemporaryDirectory() as folder, Progress() as report:
            report(f"compiling {measured['size']} for {on}")
            plan = make_plan(run_of(measured), parse(on), Path(folder))
        print(row(measured, plan), flush=True)


def run_of(measured: dict[str, Any]) -> RunConfig:
    """The run that was measured: rows of one document, weight decay and clipping, one device."""
    size = SIZES[measured["size"]]._replace(batch=measured["batch"], length=measured["length"])
    base = preset("tiny")
    model = dataclasses.replace(model_config(size, measured["remat"]), attention="auto")
    return dataclasses.replace(
        base,
        model=model,
        data=dataclasses.replace(base.data, sequence_length=size.length, packing=False),
        train=dataclasses.replace(
            base.train, batch_size=size.batch, loss_chunk=measured["loss_chunk"]
        ),
        mesh=MeshConfig(fsdp=1),
    )


def row(measured: dict[str, Any], plan: Plan) -> str:
    step, peak = measured["step_ms"], measured["peak_gib"]
    predicted = plan.time.seconds * 1e3
    planned = plan.fit.peak / GIB
    peaks = f"{peak:.2f} GiB | {planned / peak - 1:+.1%}" if peak else "not reported | -"
    return (
        f"| {measured['size']}, {measured['batch']} x {measured['length']:,} | {predicted:.1f} ms "
        f"| {step:.1f} ms | {predicted / step - 1:+.1%} | {planned:.2f} GiB | {peaks} |"
    )


if __name__ == "__main__":
    run_module(main, "tests.bench.gpu_prediction")
