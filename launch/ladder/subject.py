"""What a report is about: the runs, what was fitted to them, and what was predicted of others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from launch.ladder.backtest import Backtest
from launch.ladder.claims import clock
from launch.ladder.directory import Known, StudyDirectory
from launch.ladder.fit import ScalingFit, fit
from launch.ladder.forecast import backtests_of, known_backtests, written_forecast
from launch.ladder.results import run_of, runs_of
from launch.ladder.runs import ScalingRun
from launch.ladder.summary import approach_facts
from train.report.numbers import power

BEYOND = 10.0
"""The law is drawn at least to so many times the largest compute of the runs."""


@dataclass(frozen=True)
class Subject:
    """One study, or one table of runs."""

    name: str
    runs: Sequence[ScalingRun]
    """Finished ones that are not held out."""
    fit: ScalingFit | None
    """None if something speaks against a law."""
    why: Sequence[str]
    """What does."""
    study: StudyDirectory | None = None
    known: Sequence[Known] = ()
    """All cells of a study."""
    forecast: dict[str, Any] | None = None
    held_out: Sequence[Backtest] = ()
    """As they were predicted."""
    stale: str = ""
    """Why the forecast that was written cannot be compared."""

    @property
    def backtests(self) -> list[Backtest]:
        """The held-out cells, and the runs of the most compute, predicted from the others."""
        left = self.fit.left_out if self.fit else None
        return [*self.held_out, *([left] if left else [])]

    @property
    def computes(self) -> list[float]:
        """Where the best size is shown: what was asked of the forecast, or beyond the runs."""
        asked = [at["flops"] for at in self.forecast["at"]] if self.forecast else []
        held_out = {row.cell.flops for row in self.known if row.cell.held_out}
        if asked or held_out:
            # Whole steps never cost exactly what was asked: of what reads the same, one is enough.
            return sorted({power(flops): flops for flops in (*held_out, *asked)}.values())
        largest = max(run.flops for run in self.runs)
        return [BEYOND * largest, BEYOND**2 * largest]

    @cached_property
    def approaches(self) -> list[dict[str, Any]]:
        """The facts of every approach; none without a law."""
        if not (law_fit := self.fit):
            return []
        return [approach_facts(law_fit, each, self.computes) for each in law_fit.approaches]


def of_table(name: str, runs: Sequence[ScalingRun]) -> Subject:
    """Runs of another trainer."""
    law_fit = fit(runs)
    return Subject(name, runs, None if law_fit.refused else law_fit, law_fit.refused)


def of_study(study: StudyDirectory) -> Subject:
    """A study at any time: finished or not, with a law or without. No forecast is made."""
    now = clock(study.path)
    known = [study.known(cell, now) for cell in study.cells]
    grid = [row for row in known if not row.cell.held_out]
    runs = [run_of(row.cell, row.result) for row in grid if row.result]
    subject = Subject(study.path.name, runs, None, [], study, known)
    try:
        if forecast := written_forecast(study):
            tests = backtests_of(study, forecast)
            subject = replace(subject, forecast=forecast, held_out=tests)
    except ValueError as error:
        subject = replace(subject, stale=str(error))
    if lacking := len(grid) - len(runs):
        why = (
            f"{lacking} of the {len(grid)} cells of the grid are not done, and cells that lack may "
            "be those that went wrong"
        )
        return replace(subject, why=[why])
    try:
        law_fit = fit(runs_of(study), known_backtests(study))
    except ValueError as error:
        return replace(subject, why=[str(error)])
    return replace(subject, fit=None if law_fit.refused else law_fit, why=law_fit.refused)
