"""Published models on the clusters they ask for, as `meshloom plan --search` lays them out, as a
table in Markdown: `python -m tests.bench.plan`. It takes half an hour and both compilers."""

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from launch.plan.plan import make_plan
from launch.plan.search import Search, search
from launch.plan.topology import parse
from launch.presets.preset import preset
from launch.process.mesh import shown
from launch.process.progress import Progress
from launch.schema.command_line import run_module
from train.report.numbers import GIB

RUNS = (
    ("gpt3-175b", "v5p:8x8x8", None),
    ("palm-540b", "2xv4-6144", None),
    # 2,240 is 280 nodes of 8: a batch of 1,920 rows cannot be cut over them.
    ("mt-nlg-530b", "a100x2240", 1960),
    ("llama3-405b", "h100x8192", None),
    ("llama3-405b", "h100x16384", None),
    ("llama3-70b", "v5p:4x8x8", None),
    ("llama3-70b", "h200x64", None),
    ("megatron-1t", "v5p-4096", None),
)
HEAD = """\
| preset on | layout | fits | step | MFU | search | plan alone | memory |
|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Search, and plan the chosen layout once more by itself."""
    print(HEAD)
    for line in lines():
        print(line, flush=True)


def lines() -> Iterator[str]:
    for name, on, rows in RUNS:
        config, topology = preset(name), parse(on)
        if rows is not None:
            train = dataclasses.replace(config.train, batch_size=rows)
            config = dataclasses.replace(config, train=train)
        with tempfile.TemporaryDirectory() as folder, Progress() as report:
            began = time.perf_counter()
            chosen = search(config, topology, Path(folder), report)
            searched = time.perf_counter() - began
            report(f"compiling the layout of {name} on {on} alone")
            began = time.perf_counter()
            make_plan(chosen.best.config, topology, Path(folder) / "alone")
            yield line(chosen, searched, time.perf_counter() - began)


def line(chosen: Search, searched: float, alone: float) -> str:
    """A row of the table: the chosen layout, and the seconds it took."""
    best, config = chosen.best, chosen.best.config
    micro, rows = config.train.accumulation, config.train.batch_size
    layout = f"{shown(best.step.mesh)}, remat {config.model.remat}"
    layout += f", {rows // micro:,} rows at a time" if micro > 1 else ""
    rss = max(plan.step.rss for _, plan in chosen.plans) / GIB
    return (
        f"| {config.preset} on {best.topology.words} | {layout} "
        f"| {best.fit.peak / GIB:.1f} of {best.fit.limit / GIB:.1f} GiB "
        f"| {best.time.seconds:.1f} s | {best.totals.utilization:.1%} "
        f"| {searched:.0f} s | {alone:.0f} s | {rss:.1f} GiB |"
    )


if __name__ == "__main__":
    run_module(main, "tests.bench.plan")
