"""One run's directory: created, refused, resumed or set aside; what it contains and where."""

import contextlib
import itertools
import json
import shutil
import time
from pathlib import Path
from typing import Any

from data import durable, system
from data.errors import UserError
from launch.config import RunConfig, save
from launch.run.environment import environment
from launch.run.path import run_path

RUNS = Path("runs")
OF_A_START = ("config.yaml", "environment.json", "timeline.jsonl", "metrics.jsonl", "tensorboard")
BEFORE_A_RUN = {"job.sbatch", "logs", "failures"}
OWNER_ONLY = 0o700  # a new run may contain private text; its owner opens it to others


class RunDirectory:
    """Paths of one run; all are absolute if `path` is.

    Besides these there are `tensorboard/`, `loss.png` and `goodput.png`, `wandb.json` (the id of
    its run in each Weights & Biases project, and the last step sent), and of Slurm `job.sbatch`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        """The resolved config, accepted by --config."""
        self.environment = path / "environment.json"
        """Versions and platform of every start."""
        self.metrics = path / "metrics.jsonl"
        """One object a record."""
        self.timeline = path / "timeline.jsonl"
        """Where the wall time went, over all starts."""
        self.checkpoints = path / "checkpoints"
        """One directory a checkpoint."""
        self.profile = path / "profile"
        self.logs = path / "logs"
        """What a launcher kept of the output of processes."""
        self.failures = path / "failures"
        """Why a launcher gave up."""

    @classmethod
    def at(cls, run_dir: Path) -> "RunDirectory":
        """The directory that --run-dir names; ValueError if it is no local path."""
        return cls(system.local_path("run_dir", run_dir))

    def has_run(self) -> bool:
        """Whether a run was started here."""
        return self.config.is_file()

    def has_begun(self) -> bool:
        """Whether the run has a record or a checkpoint."""
        recorded = self.metrics.is_file() and self.metrics.stat().st_size > 0
        return recorded or (self.checkpoints.is_dir() and any(self.checkpoints.iterdir()))


def open_run_directory(
    config: RunConfig,
    undo: contextlib.ExitStack | None = None,
    *,
    path: Path | None,
    resume: bool = False,
    overwrite: bool = False,
) -> RunDirectory:
    """Create or reopen the directory of a run and write its config and environment.

    Without `path` a new one is created under runs/. A directory that contains a run is taken only
    with `resume`, after `launch.run.resume.require_same_run`, or with `overwrite`, which renames
    the old run and deletes nothing. `undo` puts all of it back as it was when it is closed, for a
    start that is refused before its first step. Call it on one process only. Raises ValueError.
    """
    check_flags(path, resume=resume, overwrite=overwrite)
    place = RUNS.absolute() / "new" if path is None else run_path("run_dir", path)
    created = [folder for folder in place.parents if not folder.exists()]
    run = RunDirectory(new_directory(config.preset) if path is None else place)
    aside = None
    if path is not None and not resume and require_free(run, overwrite=overwrite):
        aside = _set_aside(run)
    if path is None or not run.path.exists():
        created.insert(0, run.path)
    run.path.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
    if undo is not None:
        contents = {f: f.read_bytes() for f in (run.config, run.environment) if f.is_file()}
        undo.callback(_take_back, run, created, aside, set(_entries(run)), contents)
    if not resume:
        run.checkpoints.mkdir(exist_ok=True)
        durable.sync(run.path)
    save(config, run.config)
    durable.write(run.environment, json.dumps([*_starts(run), environment()], indent=2) + "\n")
    return run


def _take_back(
    run: RunDirectory,
    created: list[Path],
    aside: Path | None,
    entries: set[Path],
    contents: dict[Path, bytes],
) -> None:
    """Leave of a start nothing but the entries and contents of before, and none of the folders that
    it created, inner ones first; what is not a start's own stays."""
    for entry in _entries(run):
        own = entry.name in OF_A_START or entry.parent.name == "tensorboard"
        if own and entry not in entries and entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif own and entry not in entries:
            entry.unlink(missing_ok=True)
    for file, content in contents.items():
        file.write_bytes(content)
    with contextlib.suppress(OSError):  # those that are not empty stay
        if run.checkpoints not in entries:
            run.checkpoints.rmdir()
        for folder in created:
            folder.rmdir()
    if aside is not None and not run.path.exists():
        aside.rename(run.path)
        print(f"the run that was in {run.path} has been put back")


def check_flags(path: Path | None, *, resume: bool, overwrite: bool) -> None:
    """Raise ValueError if they contradict each other, or lack a directory where a run can be."""
    if resume and overwrite:
        raise UserError(
            "resume=True must not come with overwrite=True, because the first continues the old "
            "run and the second sets it aside; try one of them"
        )
    if path is None and (resume or overwrite):
        flag = "resume" if resume else "overwrite"
        raise UserError(
            f"{flag}=True must come with a run directory, because without one a new run is "
            f"started; try --run-dir DIRECTORY --{flag}"
        )
    run_path("run_dir", RUNS if path is None else path)


def new_directory(preset: str, *, create: bool = True) -> Path:
    """A directory under runs/ that no other run, started in the same second, has."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count():
        path = (RUNS / (f"{preset}-{stamp}" + (f"-{number}" if number else ""))).absolute()
        with contextlib.suppress(FileExistsError):
            if create:
                path.mkdir(mode=OWNER_ONLY, parents=True)
            return path
    raise AssertionError("counting does not end")


def find_run_directory(path: Path) -> RunDirectory:
    """The existing run at `path`; ValueError if there is none."""
    run = RunDirectory(system.local_path("run", path))
    if not run.has_run():
        neighbours = sorted(str(p.parent) for p in run.path.parent.glob("*/config.yaml"))
        remedy = neighbours[-1] if neighbours else "the directory that `meshloom train` printed"
        raise UserError(
            f"run={path} must be a run directory, because its config.yaml is read; try {remedy}"
        )
    return run


def _starts(run: RunDirectory) -> list[Any]:
    """The environments of earlier starts; none if the file was damaged, as no run needs them."""
    try:
        return list(system.read_json(run.environment))
    except (FileNotFoundError, ValueError, TypeError):
        return []


def _is_of_a_run(path: Path) -> bool:
    """Whether an entry of a directory shows more than preparations for a run."""
    empty = path.name == "checkpoints" and path.is_dir() and not any(path.iterdir())
    prepared = path.name in BEFORE_A_RUN or path.suffix == durable.TEMPORARY
    return not prepared and not empty


def _entries(run: RunDirectory) -> list[Path]:
    return [*run.path.iterdir(), *(run.path / "tensorboard").glob("*")]


def require_free(run: RunDirectory, *, overwrite: bool) -> bool:
    """Raise ValueError if no new run may be there; else whether an old one must be set aside."""
    if run.path.exists() and not run.path.is_dir():
        raise UserError(f"run_dir={run.path} must be a directory, but is a file; try another path")
    if not run.path.is_dir() or not any(map(_is_of_a_run, run.path.iterdir())):
        return False
    if not run.has_run():
        raise UserError(
            f"run_dir={run.path} must be new, empty or a run directory, because files of others "
            "are never touched; try another path"
        )
    if not overwrite:
        ways = "--resume to continue it, --overwrite to set it aside, or another path"
        if not run.has_begun():
            ways = "--overwrite, as that run has made no step yet, unless it is at its first now"
        raise UserError(
            f"run_dir={run.path} must not hold a run already, because it would be mixed with this "
            f"one; try {ways}"
        )
    return True


def _set_aside(run: RunDirectory) -> Path:
    """Rename the directory of the run that is there; where it is now."""
    aside = next(
        aside
        for number in itertools.count(1)
        if not (aside := run.path.with_name(f"{run.path.name}.old-{number}")).exists()
    )
    run.path.rename(aside)
    print(f"the run that was in {run.path} is now in {aside}")
    return aside
