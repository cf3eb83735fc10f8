"""The workers of a study as a Slurm array: each task is a worker, and requeues itself until no cell
is left for it."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from data.errors import UserError
from launch.cluster.sbatch import require_sbatch, submit
from launch.cluster.slurm import STEP, SlurmOptions, head, job
from launch.exit_codes import STOPPED
from launch.run.path import run_path
from launch.schema.command_line import UsageError, value_of

# A worker tries cells again by itself; what it comes back for is its time limit.
AGAIN = rf"""[ "$code" = {STOPPED} ] || exit "$code"
echo "requeued after code $code"
scontrol requeue "$SLURM_JOB_ID"
"""
ALONE = ("nodes", "min_nodes", "tasks_per_node", "array")


def launch_workers(options: SlurmOptions, command: Sequence[str]) -> None:
    """Submit `command` (ladder run STUDY --dir DIR ...) once for each worker, or print the script.
    Raises ValueError."""
    words = list(command)
    directory = value_of("--dir", words)
    if words[:2] != ["ladder", "run"] or len(words) < 3 or directory is None:
        raise UsageError(
            f"--workers needs `ladder run STUDY --dir DIR`, not {' '.join(words) or 'nothing'!r}; "
            "try meshloom launch slurm --workers 4 ladder run smoke --dir studies/smoke"
        )
    if options.workers is None:
        raise UserError(
            "workers=None must be given for `ladder run`, because each is a task of an array; "
            "try --workers 4"
        )
    for name in ALONE:
        if getattr(options, name) != getattr(SlurmOptions(), name):
            flag = name.replace("_", "-")
            raise UserError(
                f"{name}={getattr(options, name)} must not come with --workers, because each is a "
                f"process by itself; try without --{flag}"
            )
    require_sbatch(dry_run=options.dry_run)
    base = run_path("dir", directory)
    text = script(options, words, base)
    _prepare(words[2], base, dry_run=options.dry_run)
    if options.dry_run:
        sys.stdout.write(text)
        return
    submit(text, base, "logs", [base])


def script(options: SlurmOptions, words: Sequence[str], base: Path) -> str:
    """The batch script of an array of workers on the study in `base`."""
    assert options.workers is not None
    program = shlex.join([sys.executable, "-m", "launch", *words])
    place = [f"run={shlex.quote(str(base))}", f"train=({program})"]
    array = f"0-{options.workers - 1}"
    return job(head(options, base, array, "logs/slurm-%A_%a.out"), place, [STEP, AGAIN], options)


def _prepare(study: str, base: Path, *, dry_run: bool) -> None:
    """Make the study's directory, so that what is refused is refused here and not by each task."""
    from launch.ladder.cells import cells_of
    from launch.ladder.directory import make_study
    from launch.ladder.studies import load_study

    asked = load_study(study)
    if dry_run:
        cells_of(asked)
    else:
        make_study(base, asked)
