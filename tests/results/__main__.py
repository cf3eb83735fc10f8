"""`python -m tests.results TASK`: train on real or constructed data, next to a trivial baseline.

It may be stopped at any time and goes on where it was.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import tyro

from launch.api import evaluate
from launch.process.runtime import leave_out_absent_tpu
from launch.schema.command_line import run_module
from tests.command import ROOT
from tests.results.tasks import MASKED_BATCHES, TASKS

FOLDER = ROOT / ".cache" / "results"


def main(
    task: Annotated[
        Literal["masked", "sentiment", "entities", "answers", "continued"], tyro.conf.Positional
    ],
    seeds: tuple[int, ...] = (0,),
) -> None:
    """Train a task with each seed, and print its measures and those of the baseline.

    Args:
        task: What is learnt.
        seeds: Seeds of weights, dropout and the order of rows.
    """
    folder = FOLDER / task
    folder.mkdir(parents=True, exist_ok=True)
    words = TASKS[task].prepare(folder)
    baseline = once(folder / "baseline.json", lambda: TASKS[task].baseline(folder))
    for name, value in baseline.items():
        print(f"{task}: {name} {value:.4f}", flush=True)
    for seed in seeds:
        measures = once(folder / f"seed-{seed}.json", lambda seed=seed: train(folder, words, seed))
        shown = "  ".join(f"{name} {value:.4f}" for name, value in measures.items())
        print(f"{task}, seed {seed}: {shown}", flush=True)


def train(folder: Path, words: tuple[str, ...], seed: int) -> Mapping[str, float]:
    """The measures of a run at its end, and its minutes."""
    run = folder / f"run-{seed}"
    began = time.monotonic()
    flags = ["--run-dir", str(run), "--resume-or-start", "--train.seed", str(seed)]
    flags += ["--data.seed", str(seed), "--no-tensorboard"]
    command = [sys.executable, "-m", "launch", "train", *words, *flags]
    subprocess.run(command, cwd=ROOT, check=True)
    minutes = (time.monotonic() - began) / 60
    batches = MASKED_BATCHES if words[0] == "tiny-bert" else None
    _, measures = evaluate(run, batches=batches)
    return {**measures, "minutes": minutes}


def once(path: Path, measure) -> Mapping[str, float]:
    """What `measure` returns, kept in a file."""
    if not path.exists():
        path.write_text(json.dumps(dict(measure())))
    return json.loads(path.read_text())


if __name__ == "__main__":
    leave_out_absent_tpu()
    run_module(main, "tests.results")
