"""The command `verify-resume`: is a run that is killed again and again the run never killed?

Both are real runs with real checkpoints, started as a user starts them; the kills are signal 9 to
every process at once, at random instants.
"""

import contextlib
import os
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import psutil
from annotated_types import Interval

from data.errors import UserError
from data.fields import Seed
from launch.checkout import ROOT
from launch.cluster.local import Devices, Processes
from launch.run.arguments import train_options
from launch.run.directory import RUNS, RunDirectory, new_directory
from launch.run.path import run_path
from launch.schema.command_line import UsageError, parse, split_command
from train.checkpoint.folder import CheckpointFolder
from train.report.writers import read_jsonl


@dataclass(frozen=True, kw_only=True)
class VerifyResumeOptions:
    """Train twice, once killed at random instants, and compare every bit.

    PRESET, or --config FILE, and flags of `train` come after the flags below:
    `meshloom verify-resume --kills 5 tiny --train.steps 60`.
    """

    kills: Annotated[int, Interval(ge=1, le=10_000)] = 5
    """Times the second run is killed, by signal 9 to all its processes at once."""
    seed: Seed = 0
    """Seed of the instants."""
    processes: Processes = 1
    """Processes of each run, on this machine."""
    devices_per_process: Devices = 1
    """Virtual CPU devices of each process, when there are several."""
    folder: Path | None = None
    """Folder of both runs; a new one under runs/ by default."""


class Undisturbed(NamedTuple):
    """The run that was not killed."""

    losses: dict[int, float]
    start: float
    """Seconds until its first step was recorded."""
    seconds: float


class Kill(NamedTuple):
    """One kill: the last step recorded before it, and the newest checkpoint it left."""

    recorded: int
    saved: int


def main(arguments: list[str]) -> int:
    """Run `meshloom verify-resume ARGUMENTS`; the exit code is 0 if every bit is equal, else 1."""
    own, words = split_command(arguments, VerifyResumeOptions)
    options = parse(VerifyResumeOptions, own, prog="meshloom verify-resume")
    if not words:
        raise UsageError(
            "meshloom verify-resume needs a preset and flags of `train`, as in "
            "`meshloom verify-resume --kills 5 tiny --train.steps 60`"
        )
    training = train_options(words)
    if training.run_dir is not None or training.resume or training.overwrite:
        raise UsageError(
            "meshloom verify-resume starts runs of its own, in --folder; try without --run-dir, "
            "--resume, --resume-or-start and --overwrite"
        )
    return verify_resume(options, words)


def verify_resume(options: VerifyResumeOptions, words: Sequence[str]) -> int:
    """Train what `words` (a preset and flags of `train`) say twice, once undisturbed and once
    killed `options.kills` times; compare, and return 0 if every bit is equal, else 1.

    Raises ValueError if a run fails without being killed, or if no kill came after a checkpoint:
    then nothing was proved.
    """
    place = run_path("folder", options.folder or RUNS)
    folder = new_directory("verify-resume") if options.folder is None else place
    straight, killed = RunDirectory(folder / "straight"), RunDirectory(folder / "killed")
    for run in (straight, killed):
        if run.path.exists():
            raise UserError(
                f"folder={folder} must hold no runs yet, because two new ones are compared there; "
                "try another --folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    print(f"two runs of: train {shlex.join(words)}\nin {folder}")
    undisturbed = _undisturbed(options, words, straight)
    print(
        f"undisturbed: {len(undisturbed.losses)} steps in {undisturbed.seconds:.1f} s, "
        f"the first after {undisturbed.start:.1f} s"
    )
    kills = _killed(options, words, killed, undisturbed)
    if not any(0 < kill.saved < max(undisturbed.losses) for kill in kills):
        raise UserError(
            f"kills={options.kills} must come after a checkpoint and before the last at least "
            "once, because otherwise no step follows a resume; try more --train.steps, "
            f"--train.checkpoint.every-steps {max(1, len(undisturbed.losses) // 10)}, "
            "or more --kills"
        )
    return verdict(straight, killed, undisturbed.losses, kills)


def _undisturbed(
    options: VerifyResumeOptions, words: Sequence[str], run: RunDirectory
) -> Undisturbed:
    began = time.monotonic()
    with _running(options, words, run) as process:
        _wait(process, lambda: bool(losses_of(run)))
        start = time.monotonic() - began
        process.wait()
    _require_done(run, process)
    return Undisturbed(losses_of(run), start, time.monotonic() - began)


def _killed(
    options: VerifyResumeOptions,
    words: Sequence[str],
    run: RunDirectory,
    undisturbed: Undisturbed,
) -> list[Kill]:
    """Train to the end, with kills at random instants after random steps.

    Steps before the newest checkpoint stand for the start-up, and are killed there.
    """
    chance = random.Random(options.seed)
    steps = max(undisturbed.losses)
    targets = sorted(chance.randrange(steps) for _ in range(options.kills))
    jitter = (undisturbed.seconds - undisturbed.start) / steps
    kills: list[Kill] = []
    for target in [*targets, None]:
        began, delay = time.monotonic(), None
        with _running(options, words, run) as process:
            if target is not None and target > _newest(run):
                now = time.time()
                # Records of the attempt before stand until this one has restored.
                _wait(process, lambda now=now, target=target: target in losses_of(run, since=now))
                delay = chance.uniform(0, 2 * jitter)
            elif target is not None:
                delay = chance.uniform(0, undisturbed.start)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(delay)
            ended = process.poll() is not None
        if ended:
            _require_done(run, process)
            break
        kills.append(Kill(max(losses_of(run), default=0), _newest(run)))
        print(
            f"kill {len(kills)} of {options.kills}, {time.monotonic() - began:.1f} s after its "
            f"start: step {kills[-1].recorded} was recorded, step {kills[-1].saved} saved"
        )
    print(f"at its end, after {len(kills)} kill{'s' * (len(kills) != 1)}")
    return kills


def _wait(process: "subprocess.Popen[bytes]", come: Callable[[], bool]) -> None:
    while process.poll() is None and not come():
        time.sleep(0.005)


def verdict(
    straight: RunDirectory, killed: RunDirectory, expected: dict[int, float], kills: list[Kill]
) -> int:
    """Print what is equal in the two runs; 0 if all is. `expected` are the losses of `straight`."""
    from train.checkpoint.difference import compared

    actual = losses_of(killed)
    steps = sorted(expected.keys() | actual.keys())
    apart = [step for step in steps if expected.get(step) != actual.get(step)]
    last = _newest(straight)
    arrays = list(compared(straight.checkpoints / str(last), killed.checkpoints / str(last)))
    unequal = [array["name"] for array in arrays if array["what"] != "equal"]
    print(f"losses:  {len(steps) - len(apart)} of {len(steps)} bit-equal")
    print(f"arrays:  {len(arrays) - len(unequal)} of {len(arrays)} bit-equal, at step {last}")
    print(
        f"repeated: at most {max(kill.recorded - kill.saved for kill in kills)} steps after a kill"
    )
    if apart:
        step = apart[0]
        print(
            f"first different loss: step {step}: {actual.get(step)} instead of {expected.get(step)}"
        )
    if unequal:
        print(f"first different array: {unequal[0]}")
    print("resume is NOT exact" if apart or unequal else "resume is exact")
    return int(bool(apart or unequal))


@contextlib.contextmanager
def _running(
    options: VerifyResumeOptions, words: Sequence[str], run: RunDirectory
) -> "Iterator[subprocess.Popen[bytes]]":
    """The process of the run, started or continued, its output in a file next to the run; at the
    end signal 9 to it and all it has started."""
    command = [sys.executable, "-m", "launch"]
    if options.processes > 1:
        command += ["launch", "local", "--processes", str(options.processes)]
        command += ["--devices-per-process", str(options.devices_per_process), "--restarts", "0"]
    command += ["train", *words, "--train.log-every", "1", "--run-dir", str(run.path)]
    if run.config.exists():
        command.append("--resume")
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(ROOT), *([inherited] if inherited else [])])
    with run.path.with_suffix(".txt").open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": path},
        )
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid)
            for member in [family, *family.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        process.wait()


def losses_of(run: RunDirectory, since: float = 0.0) -> dict[int, float]:
    """Loss by step, of the records written after a unix time."""
    records = read_jsonl(run.metrics) if run.metrics.exists() else []
    new = [record for record in records if record["time"] >= since]
    return {record["step"]: record["loss"] for record in new if "loss" in record}


def _newest(run: RunDirectory) -> int:
    return max(CheckpointFolder(run.checkpoints).steps(), default=0)


def _require_done(run: RunDirectory, process: "subprocess.Popen[bytes]") -> None:
    if process.returncode:
        raise UserError(
            f"the run in {run.path} must finish, because two whole runs are compared, but it ended "
            f"with {process.returncode}; try {run.path.with_suffix('.txt')}, where it says why"
        )
