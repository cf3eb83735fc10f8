"""A job that loses a process every minute: how much of its time goes into steps that count."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.soak.job import ROOT, Layout, newest_step
from tests.soak.run import Outcome, start

MINUTES, EVERY_SECONDS = 20.0, 60.0
LOWEST = 0.8
WORDS = (
    "--train.steps 1000000 --train.eval-every 0 --train.eval-batches 0 --train.log-every 20 "
    "--train.checkpoint.every-steps None --train.checkpoint.every-minutes 0.05"
).split()


def killed_every_minute(folder: Path, chance: random.Random) -> Outcome:
    """Kill -9 of one process of two each minute; then `meshloom goodput` tells the shares."""
    run, output = folder / "run", folder / "output.txt"
    began = time.time()
    job = start(Layout(2), run, output, *WORDS)
    job.until(lambda: newest_step(run) > 0)
    kills, ends = 0, job.began + 60 * MINUTES
    while job.running() and time.monotonic() < ends:
        due = job.began + (kills + 1) * EVERY_SECONDS
        time.sleep(max(0.0, min(due, ends) - time.monotonic()))
        if due < ends and len(trainers := job.trainers()) == 2:
            chance.choice(trainers).kill()
            kills += 1
    job.send(signal.SIGTERM)
    code = job.wait()
    wall = time.time() - began
    command = [sys.executable, "-m", "launch", "goodput", str(run), "--json"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    report = json.loads(said)
    seconds = report["seconds"]
    parts = sum(seconds.values())
    wrong = "" if code == 75 else f"ended with {code}"
    if not wrong and len(report["attempts"]) != kills + 1:
        wrong = f"{len(report['attempts'])} starts after {kills} kills"
    if not wrong and abs(parts / wall - 1) > 0.01:
        wrong = f"the parts sum to {parts:.1f} s of {wall:.1f} s"
    if not wrong and report["goodput"] < LOWEST:
        wrong = f"goodput {report['goodput']:.1%}"
    shares = {f"share_{kind}": round(100 * part / wall, 2) for kind, part in seconds.items()}
    return {"wrong": wrong, "kills": kills, "goodput": round(100 * report["goodput"], 1)} | shares
