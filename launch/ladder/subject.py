"""What a report is about: the runs, what was fitted to them, and what was foretold."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from launch.ladder.claims import clock
from launch.ladder.directory import Known, StudyDirectory
from launch.ladder.fit import Fit, fit
from launch.ladder.forecast import forecast, measured, targets_of, tested
from launch.ladder.interval import Estimate
from launch.ladder.results import loss_of, run_of, runs_of
from launch.ladder.runs import Run


class Foretold(NamedTuple):
    """A loss that was told before it was known."""

    name: str
    params: float
    """N of the law."""
    flops: float
    loss: Estimate
    """Of the mean of all its seeds."""
    seeds: int
    measured: list[float]
    """Of the seeds that are trained."""


class Subject(NamedTuple):
    """One study, or one table of runs."""

    name: str
    study: StudyDirectory | None
    known: Sequence[Known]
    """All cells; none of a table."""
    runs: Sequence[Run]
    """Finished ones that are not held out."""
    found: Fit | None
    """None if something speaks against a law."""
    why: Sequence[str]
    """What does."""
    forecast: dict[str, Any] | None
    foretold: Sequence[Foretold]
    stale: str
    """Why the forecast that was written cannot be compared."""


def of_table(name: str, runs: Sequence[Run]) -> Subject:
    """Runs of another trainer."""
    found = fit(runs)
    return Subject(
        name, None, [], runs, None if found.refused else found, found.refused, None, [], ""
    )


def of_study(study: StudyDirectory) -> Subject:
    """A study at any time: finished or not, with a law or without."""
    now = clock(study.path)
    known = [study.known(cell, now) for cell in study.cells]
    grid = [row for row in known if not row.cell.held_out]
    runs = [run_of(row.cell, loss_of(study, row.cell)) for row in grid if row.result]
    made, stale = _forecast(study)
    subject = Subject(
        study.path.name, study, known, runs, None, [], made, _foretold(study, made), stale
    )
    if lacking := len(grid) - len(runs):
        return subject._replace(
            why=[
                f"{lacking} of the {len(grid)} cells of the grid are not done, and cells that "
                "lack may be those that went wrong"
            ]
        )
    try:
        found = fit(runs_of(study), tested(study))
    except ValueError as error:
        return subject._replace(why=[str(error)])
    return subject._replace(found=None if found.refused else found, why=found.refused)


def _forecast(study: StudyDirectory) -> tuple[dict[str, Any] | None, str]:
    """The one that was written, or why it cannot be used; a report never makes one."""
    if not (study.path / "forecast.json").is_file():
        return None, ""
    try:
        return forecast(study, ()), ""
    except ValueError as error:
        return None, str(error)


def _foretold(study: StudyDirectory, made: dict[str, Any] | None) -> list[Foretold]:
    if made is None:
        return []
    targets = {target.name: target for target in targets_of(study)}
    return [
        Foretold(
            told["name"],
            targets[told["name"]].cells[0].flops_per_token / 6,
            told["flops"],
            Estimate(**told["loss"]),
            told["seeds"],
            measured(study, targets[told["name"]]),
        )
        for told in made["held_out"]
        if told["name"] in targets
    ]
