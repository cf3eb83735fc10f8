"""One run's directory: created, refused, resumed or set aside; what it contains and where.

config.yaml        the resolved config, accepted by --config
environment.json   versions and platform of every start
metrics.jsonl      one object a record
wandb.json         id of its run in each Weights & Biases project, and the last step sent
timeline.jsonl     where the wall time went, over all starts; goodput.png draws it
checkpoints/       one directory a checkpoint
logs/, failures/, job.sbatch  what a launcher wrote
"""

import contextlib
import itertools
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class RunDirectory:
    """Paths of one run; `path` is absolute."""

    path: Path

    @classmethod
    def at(cls, run_dir: Path) -> "RunDirectory":
        """The one that --run-dir names; ValueError if it is no local path."""
        return cls(path=system.local_path("run_dir", run_dir))

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def timeline(self) -> Path:
        return self.path / "timeline.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def failures(self) -> Path:
        return self.path / "failures"

    @property
    def profile(self) -> Path:
        return self.path / "profile"


def open_run_directory(
    config: RunConfig,
    *,
    path: Path | None,
    resume: bool = False,
    overwrite: bool = False,
    undo: contextlib.ExitStack | None = None,
) -> RunDirectory:
    """Create or reopen the directory of a run and write its config and environment.

    Without `path` a new one is created under runs/. A directory that contains a run is taken only
    with `resume`, after `launch.run.resume.require_same_run`, or with `overwrite`, which renames
    the old run and deletes nothing. `undo` puts all of it back as it was when it is closed, for a
    start that is refused before its first step. Call it on one process only. Raises ValueError.
    """
    check_flags(path, resume=resume, overwrite=overwrite)
    aside = None
    place = next(new_names(config.preset)) if path is None else run_path("run_dir", path)
    created = [folder for folder in place.parents if not folder.exists()]
    if path is None:
        run = RunDirectory(path=new_directory(config.preset))
        created.insert(0, run.path)
    else:
        run = RunDirectory(path=place)
        aside = None if resume else _vacate(run, overwrite=overwrite)
        created = created if run.path.exists() else [run.path, *created]
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
        print(f"the run that was in {run.path} is there again")


def check_flags(path: Path | None, *, resume: bool, overwrite: bool) -> None:
    """Raise ValueError if they contradict each other, or lack a directory where a run can be."""
    if resume and overwrite:
        raise UserError(
            "resume=True must not come with overwrite=True, because one keeps the old run and the "
            "other sets it aside; try one of them"
        )
    if path is None and (resume or overwrite):
        flag = "resume" if resume else "overwrite"
        raise UserError(
            f"{flag}=True must come with a run directory, because without one a new run is "
            f"started; try --run-dir DIRECTORY --{flag}"
        )
    run_path("run_dir", RUNS if path is None else path)


def new_names(preset: str) -> Iterator[Path]:
    """Names under runs/ for a run that starts now; the later ones for when the others are taken."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count():
        yield (RUNS / (f"{preset}-{stamp}" + (f"-{number}" if number else ""))).absolute()


def new_directory(preset: str) -> Path:
    """A directory under runs/ that no other run, started in the same second, has."""
    for path in new_names(preset):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=OWNER_ONLY, parents=True)
            return path
    raise AssertionError("new_names ends")


def find_run_directory(path: Path) -> RunDirectory:
    """The existing run at `path`; ValueError if there is none."""
    run = RunDirectory(path=system.local_path("run", path))
    if not run.config.is_file():
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


def _vacate(run: RunDirectory, *, overwrite: bool) -> Path | None:
    """Make `run.path` free for a new run, or raise ValueError and change nothing; where the run
    that was there is now, if there was one."""
    if run.path.exists() and not run.path.is_dir():
        raise UserError(f"run_dir={run.path} must be a directory, but is a file; try another path")
    if not run.path.is_dir() or not any(map(_is_of_a_run, run.path.iterdir())):
        return None
    if not run.config.is_file():
        raise UserError(
            f"run_dir={run.path} must be new, empty or a run directory, because files of others "
            "are never touched; try another path"
        )
    if not overwrite:
        ways = "--resume to continue it, --overwrite to set it aside, or another path"
        if not has_begun(run):
            ways = "--overwrite, as that one has made no step yet, unless it is at its first now"
        raise UserError(
            f"run_dir={run.path} must not hold a run already, because it would be mixed with this "
            f"one; try {ways}"
        )
    aside = _free_name(run.path)
    run.path.rename(aside)
    print(f"the run that was in {run.path} is now in {aside}")
    return aside


def has_begun(run: RunDirectory) -> bool:
    """Whether a run has a record or a checkpoint."""
    recorded = run.metrics.is_file() and run.metrics.stat().st_size > 0
    return recorded or (run.checkpoints.is_dir() and any(run.checkpoints.iterdir()))


def _free_name(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.old-{number}")).exists():
        number += 1
    return aside
