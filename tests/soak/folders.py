"""The folder of checkpoints becomes read-only, or goes away, while a run trains. Needs root."""

import os
import random
import subprocess
from pathlib import Path

from tests.soak.job import EVERY, STEPS, Layout, newest_step
from tests.soak.run import Outcome, finish, start, straight


def read_only(folder: Path, chance: random.Random) -> Outcome:
    """The disk under the checkpoints takes no more writes: a clear error, what stands is intact."""
    layout = Layout(1)
    straight(layout)
    run, output = folder / "run", folder / "output.txt"
    checkpoints = run / "checkpoints"
    job = start(layout, run, output)
    step = chance.randrange(EVERY, STEPS - EVERY)
    job.until(lambda: newest_step(run) >= step)
    # As a disk with errors: remounted read-only under the writer.
    subprocess.run(["mount", "--bind", checkpoints, checkpoints], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", checkpoints], check=True)
        code, said = job.wait(), job.said()
    finally:
        subprocess.run(["umount", "-l", checkpoints], check=True)
    wrong = refused(code, said, "must be writable")
    return {"wrong": wrong or finish(layout, run, output), "at_step": step}


def gone(folder: Path, chance: random.Random) -> Outcome:
    """The folder goes away: a clear error, no beginning anew meanwhile, on when it is back."""
    layout = Layout(1)
    straight(layout)
    run, output, away = folder / "run", folder / "output.txt", folder / "away"
    job = start(layout, run, output)
    step = chance.randrange(EVERY, STEPS - EVERY)
    job.until(lambda: newest_step(run) >= step)
    os.rename(run / "checkpoints", away)
    wrong = refused(job.wait(), job.said(), "must be writable")
    again = start(layout, run, folder / "meanwhile.txt")
    wrong = wrong or refused(again.wait(), again.said(), "must exist")
    os.rename(away, run / "checkpoints")
    return {"wrong": wrong or finish(layout, run, output), "at_step": step}


def refused(code: int, said: str, must: str) -> str:
    """What is wrong with an end that should be a clear refusal; empty if it is one."""
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    clear = code == 1 and len(errors) == 1 and must in errors[0] and "Traceback" not in said
    return "" if clear else f"ended with {code} and said {errors}"
