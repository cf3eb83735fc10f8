"""Every layout of a small space compiled, and what the search would have taken:
`python -m tests.bench.exhaust`. It takes some minutes and the compiler of GPUs."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from data.fields import Size
from launch.plan.estimate import estimates
from launch.plan.layouts import flags
from launch.plan.plan import make_plan
from launch.plan.search import search
from launch.plan.topology import parse
from launch.presets.preset import preset
from launch.process.progress import Progress
from launch.schema.command_line import run_module


def main(
    on: str = "h100x8",
    rows: Size = 8,
    length: Size = 2048,
    layers: Annotated[int, Interval(ge=1, le=1000)] = 4,
) -> None:
    """Print how far the layout that the search takes is from the fastest of all that fit.

    Args:
        on: The chips.
        rows: Of a batch.
        length: Tokens of a row.
        layers: Of llama3-1b.
    """
    base = preset("llama3-1b")
    config = dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, num_layers=layers),
        data=dataclasses.replace(base.data, sequence_length=length),
        train=dataclasses.replace(base.train, batch_size=rows),
    )
    topology = parse(on)
    with tempfile.TemporaryDirectory() as folder, Progress() as report:
        taken = search(config, topology, Path(folder), report).best
        plans = []
        for estimate in estimates(config, topology):
            report(f"compiling {len(plans) + 1}: {flags(estimate.config, config)}")
            plans.append(make_plan(estimate.config, topology, Path(folder) / "one"))
    best = min((plan for plan in plans if plan.fit.fits), key=lambda plan: plan.time.seconds)
    off = taken.time.seconds / best.time.seconds - 1
    print(f"{len(plans)} layouts of llama3-1b with {layers} layers on {topology.words}")
    print(f"fastest: {best.time.seconds * 1e3:.2f} ms, {flags(best.config, config)}")
    print(f"taken:   {taken.time.seconds * 1e3:.2f} ms, {flags(taken.config, config)}: {off:+.1%}")


if __name__ == "__main__":
    run_module(main, "tests.bench.exhaust")
