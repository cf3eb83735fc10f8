"""A study's directory: what lies where, and what is known of each cell.

study.yaml             the study
cells/NAME/config.yaml   the cell's settings
cells/NAME/claims/N.json which worker took it as the Nth; the last has it
cells/NAME/runs/N/       run directory of that worker, as `meshloom train` makes it; the last counts
cells/NAME/log.txt       what training printed
cells/NAME/result.json   how it ended; the same bits however often it was killed
cells/NAME/failed.json   why it was given up
workers/               who works on it
forecast.json          what was predicted
"""

import json
import re
import shlex
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data import durable, system
from data.errors import UserError
from launch.config import load_dict, save
from launch.ladder.cells import Cell, cells_of, predecessor
from launch.ladder.claims import holder
from launch.ladder.study import Study, differences, from_dict
from launch.run.path import run_path
from train.report.writers import read_jsonl

State = Literal["done", "failed", "running", "waiting"]
OURS = re.compile(r"cells|workers|logs|job\.sbatch|study\.yaml\..*")
"""What another worker that creates the same study just now may have written already."""


class Known(NamedTuple):
    """What is known of a cell."""

    cell: Cell
    state: State
    why: str
    """By whom it is run, why it failed, or for which cell it waits; empty else."""
    result: dict[str, Any] | None


class StudyDirectory:
    """The study in `path` and its cells."""

    def __init__(self, path: Path, study: Study) -> None:
        self.path, self.study = path, study
        self.cells = cells_of(study)

    def of(self, cell: Cell) -> Path:
        """A cell's directory."""
        return self.path / "cells" / cell.name

    def runs_of(self, cell: Cell) -> list[Path]:
        """A cell's run directories, the last is that of the worker that has it."""
        folders = (self.of(cell) / "runs").glob("*")
        return sorted((path for path in folders if path.name.isdecimal()), key=number_of)

    def run_of(self, cell: Cell) -> Path:
        """The last of `runs_of`; a directory that is not there, if it was never begun."""
        return next(reversed(self.runs_of(cell)), self.of(cell) / "runs" / "0")

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """How a finished cell ended."""
        return self.result_named(cell.name)

    def result_named(self, name: str) -> dict[str, Any] | None:
        """How the finished cell of that name ended, which the grid may hold no more."""
        return read_json(self.path / "cells" / name / "result.json")

    def failure(self, cell: Cell) -> dict[str, Any] | None:
        """Why a cell was given up."""
        return read_json(self.of(cell) / "failed.json")

    def ended(self, cell: Cell) -> bool:
        """Whether it is done or given up."""
        return self.result(cell) is not None or self.failure(cell) is not None

    @property
    def remedy(self) -> str:
        """What to do about cells that failed."""
        directory = shlex.quote(str(self.path))
        file = shlex.quote(str(self.path / "study.yaml"))
        return (
            f"what they said is in {directory}/cells/*/log.txt; to try them again:\n"
            f"  meshloom ladder run {file} --dir {directory} --retry\n"
            "or take them out of the grid in that file and run it to go on without them; if\n"
            "they diverged, all cells need a smaller learning_rate, in another directory"
        )

    def waits_for(self, cell: Cell) -> Cell | None:
        """The shorter cell whose checkpoint this one begins with, if it is not done and will be."""
        before = predecessor(cell, self.cells)
        return None if before is None or self.ended(before) else before

    def known(self, cell: Cell, now: float) -> Known:
        """What its files say; `now` is the Unix time by which workers are silent."""
        if result := self.result(cell):
            return Known(cell, "done", "", result)
        if failure := self.failure(cell):
            return Known(cell, "failed", failure["why"], None)
        if worker := holder(self.of(cell), self.path, now):
            return Known(cell, "running", f"by {worker}", None)
        before = self.waits_for(cell)
        return Known(cell, "waiting", f"for {before.name}" if before else "", None)

    def records(self, cell: Cell) -> list[dict[str, Any]]:
        """What a cell's run has recorded so far."""
        metrics = self.run_of(cell) / "metrics.jsonl"
        return read_jsonl(metrics) if metrics.is_file() else []

    def last_step(self, cell: Cell) -> int:
        """The last step that a cell's run has recorded."""
        return next((int(record["step"]) for record in reversed(self.records(cell))), 0)


def open_study(path: Path) -> StudyDirectory:
    """The study that a directory holds; ValueError if it holds none."""
    path = system.local_path("dir", path)
    if (study := _stored(path)) is None:
        raise UserError(
            f"dir={path} must hold a study, because its study.yaml is read; try the directory that "
            "`meshloom ladder run` wrote"
        )
    return StudyDirectory(path, study)


def make_study(path: Path, study: Study) -> StudyDirectory:
    """The directory of a study, created if it is not there; its grid may have changed since.

    ValueError if it holds another study or files of others, or cannot be written.
    """
    path = run_path("dir", path)
    directory = StudyDirectory(path, study)
    before = _stored(path)
    if changed := differences(before, study) if before else []:
        raise UserError(
            f"study must be the one of {path} but for its grid, because cells that were trained "
            "otherwise cannot be compared, but these differ:\n  "
            + "\n  ".join(changed)
            + "\ntry another --dir"
        )
    try:
        others = [] if before or not path.is_dir() else [p.name for p in path.iterdir()]
        if any(OURS.fullmatch(name) is None for name in others):
            raise UserError(
                f"dir={path} must be new, empty or a study's directory, because files of others "
                "are never touched; try another --dir"
            )
        (path / "workers").mkdir(parents=True, exist_ok=True)
        for cell in directory.cells:
            (directory.of(cell) / "runs").mkdir(parents=True, exist_ok=True)
        if before != study:
            save(study, path / "study.yaml")  # several workers may do so at once
    except OSError as error:
        raise UserError(
            f"dir={path} must be writable, because cells and claims are written into it, but "
            f"{error.strerror}: {error.filename}; try another --dir"
        ) from error
    return directory


def _stored(path: Path) -> Study | None:
    """The study that a directory holds."""
    file = path / "study.yaml"
    with system.usable(f"dir={path}", "a study is kept there", always=True):
        there = file.is_file()
    return from_dict(load_dict(file, "study", "another directory"), str(file)) if there else None


def number_of(run: Path) -> int:
    """The number of the claim whose directory it is, or was to be when its worker died."""
    return int(run.name.partition(".")[0])


def read_json(path: Path) -> dict[str, Any] | None:
    """The object of a file; None if there is no file, ValueError if it holds no object."""
    try:
        values = system.read_json(path)
    except FileNotFoundError:
        return None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UserError(
            f"file={path} must hold a JSON object, because it was written whole, but it is "
            "damaged; try a copy of it, or moving it away"
        )
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write an object so that it is there whole, or not at all."""
    durable.write(path, json.dumps(values, indent=2) + "\n")
