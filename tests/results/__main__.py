"""`python -m tests.results TASK`: train on real or constructed data, next to a trivial baseline.

It may be stopped at any time and goes on where it was.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import tyro

from launch.process.runtime import leave_out_absent_tpu
from launch.run.directory import RunDirectory
from launch.run.timeline import read
from launch.schema.command_line import run_module
from tests.command import ROOT
from tests.results.tasks import TASKS, Task

FOLDER = ROOT / ".cache" / "results"


def main(
    task: Annotated[Literal[tuple(TASKS)], tyro.conf.Positional],  # pyright: ignore
    seeds: tuple[int, ...] = (0,),
) -> None:
    """Train a task with each seed, and print its measures and those of the baseline.

    Args:
        task: What is learnt.
        seeds: Seeds of weights, dropout and the order of rows.
    """
    folder = FOLDER / task
    folder.mkdir(parents=True, exist_ok=True)
    asked = TASKS[task]
    words = asked.prepare(folder)
    baseline = once(folder / "baseline.json", lambda: asked.baseline(folder))
    for name, value in baseline.items():
        print(f"{task}: {name} {value:.4f}", flush=True)
    for seed in seeds:
        measures = once(
            folder / f"seed-{seed}.json", lambda seed=seed: train(asked, folder, words, seed)
        )
        shown = "  ".join(f"{name} {value:.4f}" for name, value in measures.items())
        print(f"{task}, seed {seed}: {shown}", flush=True)


def train(task: Task, folder: Path, words: tuple[str, ...], seed: int) -> Mapping[str, float]:
    """The measures of a run at its end, and the minutes of all its starts."""
    run = folder / f"run-{seed}"
    flags = ["--run-dir", str(run), "--resume-or-start", "--train.seed", str(seed)]
    flags += ["--data.seed", str(seed), "--no-tensorboard"]
    command = [sys.executable, "-m", "launch", "train", *words, *flags]
    subprocess.run(command, cwd=ROOT, check=True)
    spans = read(RunDirectory(run).timeline)
    minutes = sum(span.end - span.begin for span in spans) / 60
    return {**task.measures(run, folder), "minutes": minutes}


def once(path: Path, measure) -> Mapping[str, float]:
    """What `measure` returns, kept in a file."""
    if not path.exists():
        path.write_text(json.dumps(dict(measure())))
    return json.loads(path.read_text())


if __name__ == "__main__":
    leave_out_absent_tpu()
    run_module(main, "tests.results")
