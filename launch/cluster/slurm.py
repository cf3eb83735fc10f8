"""Slurm jobs that requeue themselves: a run, an array of runs, or the workers of a study."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from data.errors import UserError
from launch.cluster.sbatch import RUN, WORKER, require_sbatch, script, submit
from launch.cluster.slurm_options import SlurmOptions
from launch.cluster.training import require_free, training
from launch.run.directory import check_flags, new_directory
from launch.run.path import run_path
from launch.schema.command_line import UsageError, value_of

ALONE = ("nodes", "min_nodes", "tasks_per_node", "array")


def launch_slurm(options: SlurmOptions, command: Sequence[str]) -> None:
    """Submit `command` (train PRESET ...), or print the script. Raises ValueError."""
    runs = [training(command, line) for line in _lines(options.array)]
    require_sbatch(dry_run=options.dry_run)
    first = runs[0].options
    base, created = first.run_dir, []
    if base is None:
        check_flags(None, resume=first.resume, overwrite=False)
        base = new_directory(first.run.preset, create=not options.dry_run)
        created = [base]
    base = run_path("run_dir", base)
    place, words, folders = [], shlex.join(runs[0].words), [base]
    array, log = None, "logs/slurm-%j.out"
    if options.array:
        array, log = f"0-{len(runs) - 1}", "%a/logs/slurm-%A.out"
        folders = [base / str(number) for number in range(len(runs))]
        place = ['run="$run/$SLURM_ARRAY_TASK_ID"', "case $SLURM_ARRAY_TASK_ID in"]
        place += [f"  {n}) words=({shlex.join(run.words)}) ;;" for n, run in enumerate(runs)]
        place += ["esac"]
        words = '"${words[@]}"'
    for run, folder in zip(runs, folders, strict=True):
        require_free(run, folder)
    program = shlex.join([sys.executable, "-m", "launch"])
    place += [f'train=({program} {words} --run-dir "$run" {runs[0].again})'.replace(" )", ")")]
    text = script(options, base, array, log, place, RUN)
    logs = "*/logs" if options.array else "logs"
    submit(text, base, logs, folders, created, dry_run=options.dry_run)


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
    program = shlex.join([sys.executable, "-m", "launch", *words])
    array, log = f"0-{options.workers - 1}", "logs/slurm-%A_%a.out"
    text = script(options, base, array, log, [f"train=({program})"], WORKER)
    _prepare(words[2], base, dry_run=options.dry_run)
    submit(text, base, "logs", [base], dry_run=options.dry_run)


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
