"""Faults of numbers: rows that make no number or a spike, a bit that turns over in one copy."""

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.soak.job import (
    EVERY,
    FLAGS,
    INJECT,
    PRESET,
    ROOT,
    STEPS,
    Layout,
    SoakJob,
    arrays,
    difference,
)
from tests.soak.run import Outcome, start, straight

B, LEFT_OUT = 8, 2
LETTERS = ROOT / ".cache" / "soak" / "letters.jsonl"
"""Text that is soon as likely to the model as it can be, so that spikes are spikes."""
WORDS = (
    f"--data.sources jsonl:{LETTERS} --data.held-out 0 --train.eval-batches 0 "
    f"--train.batch-size {B} --train.optimizer.warmup-steps 5 --train.optimizer.learning-rate 1e-2 "
    "--train.bad-numbers.window 8 --train.bad-numbers.threshold 12 "
    f"--train.bad-numbers.rollback-batches {LEFT_OUT}"
).split()


def bad_row(kind: str, policy: str) -> Callable[[Path, random.Random], Outcome]:
    """One row is bad: the policy is followed, and a second run does the same to the bit.

    With `stop` the first run is ended and resumes with `skip`; the second skips from the beginning.
    """

    def do(folder: Path, chance: random.Random) -> Outcome:
        write_letters()
        # By then the loss has long ceased to fall, in the window before it too.
        first = {"nan": 0, "spike": 24}[kind]
        row = chance.randrange(first * B, (STEPS - 3) * B)
        step = row // B + 1
        harm, rows = f"{kind}:{row}", f"of step {step} (data rows {step * B - B} to {step * B - 1},"
        field = {"nan": "non-finite", "spike": "spikes"}[kind]
        run, again, output = folder / "run", folder / "again", folder / "output.txt"
        job = begin(harm, run, output, f"--train.bad-numbers.{field}", policy)
        code, said, wrong = job.wait(), job.said(), ""
        if rows not in said:
            return {"wrong": f"its rows were not named: {rows}"}
        if policy == "stop":
            stood = [int(path.name) for path in (run / "checkpoints").iterdir()]
            before = (step - 1) // EVERY * EVERY
            if code != 1 or max(stood, default=0) != before:
                wrong = f"ended with {code} and step {stood}"
            policy_now = "skip"
            job = begin(harm, run, output, f"--train.bad-numbers.{field}", policy_now)
            code, said = job.wait(), job.said()
        else:
            policy_now = policy
        other = begin(
            harm, again, folder / "again.txt", f"--train.bad-numbers.{field}", policy_now
        ).wait()
        if code or other:
            return {"wrong": wrong or f"ended with {code} and {other}"}
        wrong = wrong or followed(policy_now, said, run, step) or difference(run, again)
        if not wrong and not all(np.isfinite(a).all() for a in numeric(run)):
            wrong = "a parameter is not finite"
        return {"wrong": wrong, "at_step": step}

    return do


def begin(harm: str, run: Path, output: Path, *words: str) -> SoakJob:
    """A run, or the rest of one, on data or hardware that err."""
    here = ["--run-dir", str(run), "--resume-or-start"]
    program = [sys.executable, str(INJECT / "harmed.py"), harm, "train", PRESET]
    return SoakJob([*program, *here, *FLAGS, *WORDS, *words], output)


def followed(policy: str, said: str, run: Path, step: int) -> str:
    """What of the policy was not followed in a run that has come to its end."""
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    meta = json.loads((run / "checkpoints" / str(STEPS) / "meta.json").read_text())
    rows = [[(step - 1) * B, (step + LEFT_OUT) * B]] if policy == "rollback" else []
    dropped = 1 if policy == "skip" else 0
    if meta["skipped"] != rows:
        return f"rows {meta['skipped']} were left out, not {rows}"
    if last["dropped_updates"] != dropped:
        return f"{last['dropped_updates']} updates were dropped"
    back = f"back to step {(step - 1) // EVERY * EVERY}, leaving out"
    message = f"{dropped} so far" if policy == "skip" else back
    return "" if message in said else f"it did not say: {message}"


def numeric(run: Path) -> list[np.ndarray]:
    return [array for array in arrays(run).values() if array.dtype.kind == "f"]


def write_letters() -> None:
    if not LETTERS.exists():
        rng = np.random.default_rng(0)
        texts = ("".join(rng.choice(list("abcd"), 120)) for _ in range(600))
        partial = LETTERS.with_suffix(".partial")
        partial.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        partial.replace(LETTERS)


def flipped_copy(folder: Path, chance: random.Random) -> Outcome:
    """A bit turns over in one device's copy of a parameter: flagged before the next checkpoint."""
    layout = Layout(1, chance.choice((2, 4)))
    mesh = ["--mesh.replica", str(layout.devices), "--mesh.fsdp", "1"]
    checks = ["--train.corruption.replicas", "--train.corruption.every-steps", "3"]
    reference = straight(layout, *mesh)[0]
    step, device = chance.randrange(1, STEPS), chance.randrange(layout.devices)
    harm = f"flip:{step}:{chance.randrange(1000)}:{device}:{chance.randrange(10**9)}"
    run, output = folder / "run", folder / "output.txt"
    program = [sys.executable, str(INJECT / "harmed.py"), harm, "train", PRESET]
    words = ["--run-dir", str(run), *FLAGS, *mesh, *checks]
    devices = {"JAX_NUM_CPU_DEVICES": str(layout.devices)}
    job = SoakJob([*program, *words], output, **devices)
    code, said = job.wait(), job.said()
    name = said.partition("turned over a bit of ")[2].partition(" on device")[0]
    flagged = min(-(-step // 3) * 3, -(-step // EVERY) * EVERY)
    wrong = "" if code == 1 else f"ended with {code}"
    copies = said.partition(f"after step {flagged}, because")[2]
    named = f"{name} on " in copies and f"device {device} of process 0" in copies
    # A bit of an exponent may end the run by its loss, which is NaN before the copies are compared.
    if not wrong and not named and "loss=nan" not in said:
        wrong = f"{name} on device {device} was not named after step {flagged}"
    stood = [int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdecimal()]
    if not wrong and max(stood, default=0) != (step - 1) // EVERY * EVERY:
        wrong = f"checkpoints {stood} stand after a flip at step {step}"
    if not wrong:
        code = start(layout, run, output, *mesh, *checks).wait()
        wrong = f"resume ended with {code}" if code else difference(run, reference)
    return {"wrong": wrong, "at_step": step}
