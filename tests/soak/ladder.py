"""Workers of a study are killed, or stand still so long that others take their cells."""

import json
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil

from data.cache import locked
from launch.config import save
from launch.ladder.study import from_dict
from tests.soak.job import PATIENCE, ROOT, SoakJob
from tests.soak.run import Outcome, code_digest

STUDY = {
    "base": {
        "preset": "tiny",
        "tensorboard": False,
        "data": {"sequence_length": 64},
        "train": {
            "eval_batches": 4,
            "log_every": 1,
            "checkpoint": {"every_steps": 40},
            "optimizer": {"schedule": "wsd", "warmup_steps": 10},
        },
    },
    "family": {"head_dim": 16, "width_per_layer": 16.0},
    "learning_rate": {"factor": 4e-3},
    "batch_tokens": {"factor": 512.0},
    "grid": [{"widths": [16, 32], "flops": flops} for flops in (2e10, 4e10, 8e10)],
}
"""Three lengths, so that branches have branches."""
SILENT = 3
WORK = f"import launch.ladder.claims as c; c.SILENT = {SILENT}; "
WORK += "import sys; from launch.cli import program; program(['ladder', 'run', *sys.argv[1:]])"
KILLS = 5


def workers_killed(folder: Path, chance: random.Random) -> Outcome:
    """Kill -9 of one of two workers, KILLS times unless they are done; for each another begins."""
    expected, seconds = undisturbed()
    workers = [worker(folder, number) for number in range(2)]
    kills = 0
    for number in range(KILLS):
        time.sleep(chance.uniform(0, 1.2 * seconds / KILLS))
        place = chance.randrange(2)
        victim, trainings = workers[place], workers[place].tree()[1:]
        if not victim.running():
            break
        kills += 1
        victim.send(signal.SIGKILL)
        workers[place] = worker(folder, number + 2)
        victim.wait()
        _, left = psutil.wait_procs(trainings, timeout=10)
        if left:
            return {"wrong": f"a training outlived its worker by 10 s: {left}"}
    return {"wrong": ended(workers) or difference(folder, expected), "kills": kills}


def worker_stopped(folder: Path, chance: random.Random) -> Outcome:
    """SIGSTOP of a worker until another has taken its cell, while its training continues."""
    expected, _ = undisturbed()
    first = worker(folder, 0)
    reached = chance.randrange(10, 400)
    if not first.until(lambda: steps_done(folder) >= reached):
        return {"wrong": f"it was done before step {reached}"}
    first.send(signal.SIGSTOP)
    second = worker(folder, 1)
    taken = second.until(lambda: any((folder / "study/cells").glob("*/claims/2.json")))
    time.sleep(chance.uniform(0, 10))
    first.send(signal.SIGCONT)
    wrong = ended([first, second]) or difference(folder, expected)
    if not wrong and not (taken and "another worker took it" in first.said()):
        wrong = "its cell was not taken"
    return {"wrong": wrong, "at_step": reached}


def undisturbed() -> tuple[dict[str, bytes], float]:
    """Every cell's result, and the seconds that two workers took for them; made once."""
    folder = ROOT / ".cache" / "soak" / f"ladder-{code_digest()[:12]}"
    seconds_file = folder / "seconds.json"
    with locked(folder.with_suffix(".lock"), lambda _: None):
        if not seconds_file.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            began = time.monotonic()
            if wrong := ended([worker(folder, number) for number in range(2)]):
                raise RuntimeError(f"the undisturbed study failed: {wrong}")
            seconds_file.write_text(json.dumps(time.monotonic() - began))
    return results(folder), json.loads(seconds_file.read_text())


def worker(folder: Path, number: int) -> SoakJob:
    file = folder / "study.yaml"
    if not file.exists():
        save(from_dict(STUDY, str(file)), file)
    command = [sys.executable, "-c", WORK, str(file), "--dir", str(folder / "study")]
    return SoakJob(command, folder / f"worker-{number}.txt")


def ended(workers: list[SoakJob]) -> str:
    """Wait for all; what is wrong with how one ended."""
    codes = [each.wait(patience=5 * PATIENCE) for each in workers]
    return f"workers ended with {codes}" if any(codes) else ""


def results(folder: Path) -> dict[str, bytes]:
    paths = (folder / "study" / "cells").glob("*/result.json")
    return {path.parent.name: path.read_bytes() for path in paths}


def difference(folder: Path, expected: dict[str, bytes]) -> str:
    """The first cell whose result is not the undisturbed one to the byte."""
    actual = results(folder)
    for name in sorted(expected.keys() | actual.keys()):
        if actual.get(name) != expected.get(name):
            return f"{name}: {actual.get(name)} for {expected.get(name)}"
    return ""


def steps_done(folder: Path) -> int:
    """Steps that all cells have recorded."""
    records = (folder / "study" / "cells").glob("*/runs/*/metrics.jsonl")
    return sum(path.read_bytes().count(b'"loss"') for path in records)
