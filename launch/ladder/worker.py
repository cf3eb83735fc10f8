"""Trains the cells of a study, one after the other, until none is left that others do not have."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from launch import exit_codes
from launch.checkout import ROOT
from launch.config import save
from launch.ladder.attempts import begin, newest_step
from launch.ladder.cells import Cell
from launch.ladder.claims import Claim, Worker
from launch.ladder.directory import StudyDirectory, write_json
from launch.ladder.results import require_same_text, result_of
from launch.process.interrupt import SAME, SIGNALS

TRIES = 3
"""Times in a row that a cell may end unexpectedly at the same checkpoint."""
LOOK = 1.0
"""Seconds between looks at the training, and at cells of others."""
LAST_LINES = 20
"""Of a log, in which the last words of a training are looked for."""


class Stopped(Exception):
    """A signal asked this worker to stop."""


def work(study: StudyDirectory, *, held_out: bool, retry: bool) -> int:
    """Train all cells, or all held-out ones, that no other worker has; the exit code.

    With `retry` those that were given up are tried once more.
    """
    require_same_text(study)
    cells = [cell for cell in study.cells if cell.held_out == held_out]
    if retry:
        for cell in cells:
            (study.of(cell) / "failed.json").unlink(missing_ok=True)
    with contextlib.closing(Worker(study.path)) as worker, _stopping_on_signals():
        waiting: list[str] = []
        try:
            while left := [cell for cell in cells if not study.ended(cell)]:
                if _train_next(study, worker, left):
                    waiting = []
                    continue
                if waiting != (waiting := [cell.name for cell in left]):
                    more = f" and {len(left) - 2} more" if len(left) > 2 else ""
                    print(f"waiting for other workers: {', '.join(waiting[:2])}{more}", flush=True)
                time.sleep(LOOK)
        except Stopped:
            print("stopped; the same command continues", flush=True)
            return exit_codes.STOPPED
    failed = {cell.name: failure for cell in cells if (failure := study.failure(cell))}
    print(f"{len(cells) - len(failed)} of {len(cells)} cells are done", flush=True)
    for name, failure in failed.items():
        print(f"{name} failed: {failure['why']}", flush=True)
    if failed:
        print(study.remedy, flush=True)
    return exit_codes.REFUSED if failed else exit_codes.DONE


def _train_next(study: StudyDirectory, worker: Worker, cells: Sequence[Cell]) -> bool:
    """Train the first of the cells that is free; whether there was any."""
    for cell in cells:
        if study.waits_for(cell) or not (claim := worker.claim(study.of(cell))):
            continue
        try:
            if not study.ended(cell):
                _train(study, cell, claim)
        finally:
            claim.release()
        return True
    return False


def _train(study: StudyDirectory, cell: Cell, claim: Claim) -> None:
    """Train until the cell is done, is given up, or is another's."""
    folder, reached, began = study.of(cell), [], time.monotonic()
    while True:
        code, why = _try(study, cell, claim)
        # Whatever it came to: it is the other's now.
        if not claim.is_valid:
            print(f"{cell.name}: another worker took it", flush=True)
            return
        if code == exit_codes.DONE:
            result = result_of(cell, folder / "runs" / str(claim.number))
            write_json(folder / "result.json", result)
            seconds = time.monotonic() - began
            print(f"{cell.name}: loss {result['loss']:.4f} after {seconds:.0f} s", flush=True)
            return
        reached.append(newest_step(study, cell, claim.number))
        tries = reached.count(reached[-1])
        print(f"{cell.name}: try {tries} of {TRIES} ended with code {code}: {why}", flush=True)
        if code in (exit_codes.REFUSED, exit_codes.USAGE) or tries == TRIES:
            write_json(folder / "failed.json", {"code": code, "why": why, "tries": tries})
            return


def _try(study: StudyDirectory, cell: Cell, claim: Claim) -> tuple[int, str]:
    """Begin the run, or go on with it, in a process of its own, until it ends or the claim is lost;
    its exit code, and its last words if it failed."""
    folder = study.of(cell)
    config, log = folder / "config.yaml", folder / "log.txt"
    try:
        run = begin(study, cell, claim.number)
        save(cell.config, config)
    except OSError as error:
        return exit_codes.UNEXPECTED, str(error)
    print(f"{cell.name}: training, {cell.config.train.steps:,} steps", flush=True)
    command = [sys.executable, "-m", "launch", "train", "--config", str(config)]
    # A cell is one process's, also where a scheduler started many workers as one job.
    command += ["--distributed.start", "none", "--run-dir", str(run), "--resume-or-start"]
    path = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        # The training dies with this process, as another worker goes on with the cell then.
        "MESHLOOM_LAUNCHER": str(os.getpid()),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT),
    }
    with log.open("ab") as output:
        training = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    code = _watched(training, claim)
    return code, "" if code == exit_codes.DONE else _why(log, code)


def _watched(training: "subprocess.Popen[bytes]", claim: Claim) -> int:
    """The exit code of a training, which is killed if the claim is lost; when this worker is asked
    to stop, it saves first, unless it is asked again."""
    try:
        while claim.is_valid:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return training.wait(LOOK)
    except Stopped:
        training.terminate()
        training.wait()
        raise
    finally:
        if training.poll() is None:
            training.kill()
            training.wait()
    return training.wait()


def _why(log: Path, code: int) -> str:
    """The last words of a training that failed, without its advice, which is of other flags."""
    if code == -signal.SIGKILL:
        return "killed by SIGKILL, as it is when memory runs out"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    with log.open(encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in deque(file, LAST_LINES) if line.strip()]
    begins = [place for place, line in enumerate(lines) if line.startswith(("error:", "hung:"))]
    last = " ".join(lines[begins[-1] if begins else -1 :])
    return last.removeprefix("error: ").partition("; try ")[0] or f"exit code {code}"


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Within, a signal that asks to stop raises Stopped, and one that comes later does again."""
    heard_at = -math.inf

    def stop(number: int, frame: object) -> None:
        nonlocal heard_at
        now = time.monotonic()
        if heard_at <= now - SAME:
            heard_at = now
            raise Stopped

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
