"""A run as a Slurm job: writes the batch script into the run directory and submits it."""

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from data.errors import UserError
from launch.checkout import ROOT
from launch.cluster.sbatch import require_sbatch, submit
from launch.cluster.training import Training, require_free, training
from launch.exit_codes import DONE, REFUSED, USAGE
from launch.run.directory import check_flags, new_directory
from launch.run.path import run_path
from launch.schema import bounds

Nodes = Annotated[int, Interval(ge=1, le=65_533)]
Tasks = Annotated[int, Interval(ge=1, le=65_533)]

# Days, then hours; or hours, minutes, seconds; minutes alone, or with seconds.
TIME = re.compile(r"(?:([0-9]{1,6})-)?([0-9]{1,9})(?::([0-9]{2}))?(?::([0-9]{2}))?")
NAME = re.compile(r"[A-Za-z0-9_.@+=,-]+")
# Slurm reads quotes, blanks and % in its own way in `#SBATCH` lines.
PLAIN_PATH = re.compile(r"[\w./@+=:,~-]+")

NEWEST = r"""
newest_checkpoint() {
  ls "$run/checkpoints" 2>/dev/null | grep -xE '[0-9]+' | sort -n | tail -n 1
}
"""
STEP = r"""
# USR1 comes before the time limit, to this shell alone. TERM (scancel, preemption) reaches the
# tasks by itself, and srun would kill them if it were passed on.
near_limit= ended=
trap 'near_limit=1; kill -USR1 "$step" 2>/dev/null' USR1
trap 'ended=1' TERM

# srun's own errors would end with 1, as if the run had refused.
export SLURM_EXIT_ERROR=71
# A task that failed ends its peers itself within a minute; what is left then is killed.
srun --label --kill-on-bad-exit=0 --wait=60 SRUN_FLAGS"${train[@]}" &
step=$!
while kill -0 "$step" 2>/dev/null; do wait "$step"; done  # a trap ends a wait
wait "$step"
code=$?

# Done or refused: the same would happen again.
case $code in FINAL) exit "$code" ;; esac
if [ -n "$ended" ] && [ -z "$near_limit" ]; then
  echo "ended by Slurm with code $code; the same script, submitted again, continues the run"
  exit "$code"
fi
"""
AGAIN = r"""ends=$run/logs/ends-$SLURM_JOB_ID
after=$(newest_checkpoint)
echo "${after:-none}" >> "$ends"
if [ "$(tail -n TRIES "$ends" | grep -cxF "${after:-none}")" = TRIES ]; then
  echo "given up with code $code: TRIES tries ended at the same checkpoint (${after:-none})"
  exit "$code"
fi
echo "requeued after code $code, at checkpoint ${after:-none}"
scontrol requeue "$SLURM_JOB_ID"
"""
TRIES = 3
FINAL = " | ".join(str(code) for code in (DONE, REFUSED, USAGE))


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """Submit a run as a Slurm job that requeues itself until it is done.

    All nodes must see the checkout, this Python and the run directory.

    After the flags come `train PRESET` and flags of it.
    """

    nodes: Nodes = 1
    """Nodes of the job."""
    min_nodes: Nodes | None = None
    """Continue with as few nodes as this when the others do not come back; all, if not set."""
    tasks_per_node: Tasks | None = None
    """Processes of each node; one for each GPU, or one, if not given."""
    gpus_per_node: Tasks | None = None
    """GPUs of each node."""
    cpus_per_task: Tasks | None = None
    """CPUs of each process; Slurm's default, often 1, if not given."""
    partition: str | None = None
    """Partition to run in."""
    account: str | None = None
    """Account that pays."""
    time: str | None = None
    """Time limit as Slurm writes it: [DAYS-]HOURS:MINUTES:SECONDS."""
    grace: Annotated[int, Interval(ge=1, le=65_535)] = 120
    """Seconds before the time limit at which the run saves and the job is requeued."""
    array: Path | None = None
    """One run for each line of this file, in RUN/0, RUN/1, ...; a line holds more flags."""
    workers: Annotated[int, Interval(ge=1, le=1_000_000)] | None = None
    """Workers of a study, each a task of an array: of `ladder run STUDY --dir DIR`, which comes
    after the flags then."""
    dry_run: bool = False
    """Print the script; write and submit nothing."""

    def __post_init__(self) -> None:
        bounds.require(self)
        if self.min_nodes is not None and self.min_nodes > self.nodes:
            raise UserError(
                f"min_nodes={self.min_nodes} must be at most nodes={self.nodes}, because it is the "
                f"smallest number; try --min-nodes {self.nodes}"
            )
        tasks, gpus = self.tasks_per_node, self.gpus_per_node
        if tasks is not None and gpus is not None and tasks not in (1, gpus):
            raise UserError(
                f"tasks_per_node={tasks} must be 1 or gpus_per_node={gpus}, because a task "
                "alone on its node takes all GPUs and one among others takes one, so that some "
                f"would be idle or missing; try --tasks-per-node {gpus}"
            )
        if self.time is not None and not TIME.fullmatch(self.time):
            raise UserError(
                f"time={self.time!r} must be MINUTES, HOURS:MINUTES:SECONDS or "
                "DAYS-HOURS:MINUTES:SECONDS, because Slurm reads it; try --time 12:00:00"
            )
        if self.time is not None and 0 < _seconds(self.time) <= self.grace:
            raise UserError(
                f"time={self.time} must be more than grace={self.grace} seconds, because the run "
                "saves and is requeued so long before the limit and would make no step; "
                "try --time 12:00:00"
            )
        for name in ("partition", "account"):
            value = getattr(self, name)
            if value is not None and not NAME.fullmatch(value):
                raise UserError(
                    f"{name}={value!r} must be a name of letters, digits and ._@+=,-, because "
                    f"Slurm reads it in a line of the script; try `sinfo` to see the names"
                )

    @property
    def tasks(self) -> int:
        return self.tasks_per_node or self.gpus_per_node or 1


def _seconds(time: str) -> int:
    """The seconds of a time limit; 0 is no limit."""
    parts = TIME.fullmatch(time)
    assert parts is not None
    days, *clock = parts.groups()
    numbers = [int(part) for part in clock if part is not None]
    if days is None and len(numbers) < 3:
        numbers = [0, *numbers]
    hours, minutes, seconds = [*numbers, 0, 0][:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def launch_slurm(options: SlurmOptions, command: Sequence[str]) -> None:
    """Submit `command` (train PRESET ...), or print the script. Raises ValueError."""
    runs = [training(command, line) for line in _lines(options.array)]
    require_sbatch(dry_run=options.dry_run)
    base = runs[0].options.run_dir
    if base is None:
        check_flags(None, resume=runs[0].options.resume, overwrite=False)
        preset = runs[0].options.run.preset
        base = new_directory(preset, create=not options.dry_run)
    base = run_path("run_dir", base)
    folders = [base / str(n) for n in range(len(runs))] if options.array else [base]
    for run, folder in zip(runs, folders, strict=True):
        require_free(run, folder)
    text = script(options, runs, base)
    if options.dry_run:
        sys.stdout.write(text)
        return
    created = [] if runs[0].options.run_dir else [base]
    submit(text, base, "*/logs" if options.array else "logs", folders, created)


def script(options: SlurmOptions, runs: Sequence[Training], base: Path) -> str:
    """The batch script of one run in `base`, or of an array of runs in its folders 0, 1, ..."""
    array = f"0-{len(runs) - 1}" if options.array else None
    log = "%a/logs/slurm-%A.out" if options.array else "logs/slurm-%j.out"
    program = shlex.join([sys.executable, "-m", "launch"])
    place, words = [f"run={shlex.quote(str(base))}"], shlex.join(runs[0].words)
    if options.array:
        place += ['run="$run/$SLURM_ARRAY_TASK_ID"', "case $SLURM_ARRAY_TASK_ID in"]
        place += [f"  {n}) words=({shlex.join(run.words)}) ;;" for n, run in enumerate(runs)]
        place += ["esac"]
        words = '"${words[@]}"'
    place += [f'train=({program} {words} --run-dir "$run" {runs[0].again})'.replace(" )", ")")]
    return job(head(options, base, array, log), place, [NEWEST, STEP, AGAIN], options)


def head(options: SlurmOptions, base: Path, array: str | None, log: str) -> list[str]:
    """The `#SBATCH` lines of a job in the directory `base`. ValueError if Slurm could not read
    them."""
    here = Path.cwd()
    for name, path in (("run_dir", base), ("working directory", here)):
        if not PLAIN_PATH.fullmatch(str(path)):
            raise UserError(
                f"{name}={str(path)!r} must be of letters, digits and ./@+=:,~-, because Slurm "
                "reads it in a line of the script; try another --run-dir"
            )
    nodes = f"{options.min_nodes}-{options.nodes}" if options.min_nodes else options.nodes
    lines: list[tuple[str, object]] = [
        ("job-name", base.name),
        ("array", array),
        ("nodes", nodes),
        ("ntasks-per-node", options.tasks),
        ("gpus-per-node", options.gpus_per_node),
        ("cpus-per-task", options.cpus_per_task),
        ("partition", options.partition),
        ("account", options.account),
        ("time", options.time),
        ("chdir", here),
        ("output", base / log),
        ("open-mode", "append"),
        ("requeue", ""),
        ("signal", f"B:USR1@{options.grace}"),
    ]
    return [f"#SBATCH --{n}{f'={v}' if v != '' else ''}" for n, v in lines if v is not None]


def job(
    head: Sequence[str], place: Sequence[str], body: Sequence[str], options: SlurmOptions
) -> str:
    """A batch script of its `#SBATCH` lines, those that set `run` and `train`, and its body."""
    flags = f"--cpus-per-task={options.cpus_per_task} " if options.cpus_per_task else ""
    lines = [
        "#!/bin/bash",
        "# Written by `meshloom launch slurm`; sbatch takes it again, also after a change.",
        *head,
        "",
        *place,
        f'export PYTHONPATH={shlex.quote(str(ROOT))}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        "".join(body)
        .replace("SRUN_FLAGS", flags)
        .replace("TRIES", str(TRIES))
        .replace("FINAL", FINAL),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _lines(array: Path | None) -> list[list[str]]:
    """The flags that each run of the array adds; one run without any if there is no array."""
    if array is None:
        return [[]]
    try:
        text = array.read_text(encoding="utf-8")
        lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(
            f"array={array} must be a text file with the flags of one run a line, but: {error}; "
            "try lines such as --model.num-layers 2"
        ) from error
    lines = [line for line in lines if line]
    if not lines:
        raise UserError(
            f"array={array} must hold a line for each run, because none would be started; "
            "try lines such as --model.num-layers 2"
        )
    return lines
