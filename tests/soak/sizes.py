"""A run continues with other devices, or another batch size."""

import json
import random
import shutil
import time
from pathlib import Path

from tests.soak.job import (
    EVERY,
    STEPS,
    Layout,
    SoakJob,
    arrays,
    began_at,
    losses,
    newest_checkpoint,
    newest_step,
)
from tests.soak.run import Outcome, start, straight

B, LARGER = 64, 128
KEEP = ["--train.checkpoint.keep-latest", "100"]
# A loss then tells of its rows alone: parameters stay, and each target weighs the same.
FROZEN = ["--train.optimizer.learning-rate", "1e-30", "--data.no-packing"]


def fewer_devices(folder: Path, chance: random.Random) -> Outcome:
    """8 -> 4 devices at a random instant: each row once, losses within 2e-6 of 8 all along."""
    reference, seconds = straight(Layout(1, 8))
    run, output = folder / "run", folder / "output.txt"
    kill(start(Layout(1, 8), run, output), run, chance, seconds)
    code = start(Layout(1, 4), run, output).wait()
    if code:
        return {"wrong": f"4 devices ended with {code}"}
    actual, expected = losses(run), losses(reference)
    if actual.keys() != expected.keys() or rows(run) != {s: B * s for s in range(1, STEPS + 1)}:
        return {"wrong": "steps or rows are missing"}
    apart = max(abs(actual[step] / expected[step] - 1) for step in expected)
    wrong = "" if apart <= 2e-6 else f"losses differ by {apart:.1e}"
    return {"wrong": wrong, "apart": apart, "at_step": began_at(output.read_text())}


def larger_batch(folder: Path, chance: random.Random) -> Outcome:
    """Batch 64 -> 128 at a random instant, then killed once more.

    Bit-equal to an undisturbed run that went from 64 to 128 at the same row; and with
    parameters that stay, each loss is the mean of those which two batches of 64 had.
    """
    if wrong := other_rows(folder, chance):
        return {"wrong": wrong}
    layout, batch = Layout(1), ["--train.batch-size", str(LARGER)]
    straight_run, seconds = straight(layout, *KEEP)
    run, output, other = folder / "run", folder / "output.txt", folder / "other"
    kill(start(layout, run, output), run, chance, seconds)
    job = start(layout, run, output, *batch)
    job.until(lambda: "resuming from step" in job.said())
    begun = began_at(job.said())
    last = begun + -(-(STEPS - begun) * B // LARGER)
    goal = chance.randrange(begun + 1, last + 1)
    job.until(lambda: newest_step(run) >= goal)
    job.kill_all()
    code = start(layout, run, output, *batch).wait()
    shutil.copytree(straight_run, other)
    for path in (other / "checkpoints").iterdir():
        if int(path.name) > begun:
            shutil.rmtree(path)
    code = code or start(layout, other, folder / "other.txt", *batch).wait()
    if code:
        return {"wrong": f"ended with {code}"}
    wanted = {s: B * s if s <= begun else B * begun + LARGER * (s - begun) for s in losses(run)}
    wrong = "" if rows(run) == wanted and max(wanted) == last else "rows are missing or read twice"
    if not wrong and losses(run) != losses(other):
        wrong = "losses differ"
    ours, theirs = arrays(run, last), arrays(other, last)
    if not wrong and any(ours[name].tobytes() != theirs[name].tobytes() for name in theirs):
        wrong = "arrays differ"
    return {"wrong": wrong, "at_step": begun}


def other_rows(folder: Path, chance: random.Random) -> str:
    """Whether batches of 128 hold other rows than those of 64 did."""
    layout = Layout(1)
    reference, seconds = straight(layout, *FROZEN)
    run, output = folder / "frozen", folder / "frozen.txt"
    kill(start(layout, run, output, *FROZEN), run, chance, seconds)
    code = start(layout, run, output, *FROZEN, "--train.batch-size", str(LARGER)).wait()
    if code:
        return f"ended with {code}"
    begun, actual, halves = began_at(output.read_text()), losses(run), losses(reference)
    for step in range(begun + 1, begun + (STEPS - begun) // 2 + 1):
        second = begun + 2 * (step - begun)
        mean = (halves[second - 1] + halves[second]) / 2
        if abs(actual[step] / mean - 1) > 2e-6:
            return f"step {step} had the loss {actual[step]} for {mean}"
    return ""


def kill(job: SoakJob, run: Path, chance: random.Random, seconds: float) -> None:
    """Kill -9 between the first checkpoint and the end."""
    if not job.until(lambda: (run / "checkpoints" / str(EVERY)).exists()):
        raise RuntimeError(f"no checkpoint was made; see {job.output}")
    ends = time.monotonic() + chance.uniform(0, seconds / 3)
    job.until(lambda: time.monotonic() > ends or newest_step(run) > STEPS - 2 * EVERY)
    job.kill_all()
    if not EVERY <= newest_checkpoint(run) < STEPS - 1:
        raise RuntimeError("the kill came too late to prove anything")


def rows(run: Path) -> dict[int, int]:
    """Rows seen after each step, as the run has recorded them."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {r["step"]: r["examples_seen"] for r in records if "examples_seen" in r}
