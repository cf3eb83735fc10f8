"""`meshloom ladder report`: a study, or a table of runs, as one page and its pictures."""

import math
from pathlib import Path
from xml.etree.ElementTree import Element

from data import durable
from data.errors import UserError
from launch.ladder import chart, records, sections
from launch.ladder.backtest import backtests
from launch.ladder.digits import power
from launch.ladder.forecast_picture import forecasts
from launch.ladder.isoflop_picture import best_size, isoflop
from launch.ladder.page import drawing, element, whole
from launch.ladder.runs import budgets, table
from launch.ladder.subject import Subject
from launch.ladder.surface_picture import residuals, surface
from launch.process.typed import near

PICTURES = "report"
BEYOND = 10.0
"""The law is drawn at least to so many times the largest compute of the runs."""


def write(subject: Subject, folder: Path) -> None:
    """Write report.html and report/*.png and .svg into a directory; ValueError if it cannot be
    written."""
    page = folder / "report.html"
    try:
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        with chart.styled():
            durable.write(page, _page(subject, folder))
    except OSError as error:
        raise UserError(
            f"out={folder} must be writable, because the page and its pictures are written into "
            f"it, but {error.strerror}: {error.filename}; try another --out"
        ) from error
    print(f"report: {near(page)}, pictures beside it in {PICTURES}/")


def _page(subject: Subject, folder: Path) -> str:
    drawn = [
        element("section", element("h2", picture.title), _figure(picture, folder))
        for picture in _of_runs(subject)
    ]
    tests = backtests(subject.found, subject.foretold)
    made = [
        *sections.opening(subject),
        element("div", *drawn, class_="pictures"),
        *sections.foretold(subject, [_figure(forecasts(tests), folder)] if tests else []),
        *sections.best(subject, _computes(subject)),
        *sections.law(subject),
        *records.runs(subject),
        *records.origin(subject),
    ]
    return whole(f"Scaling study: {subject.name}", *made)


def _of_runs(subject: Subject) -> list[chart.Picture]:
    """Pictures of the runs, as far as these allow them."""
    runs, found = table(subject.runs), subject.found
    if not all(((0 < column) & (column < math.inf)).all() for column in runs):
        return []  # all are on logarithmic axes; the page says which run it is
    drawn = []
    if any(len(budget.rows) > 1 for budget in budgets(runs.flops)):
        drawn.append(isoflop(runs, found))
    if found:
        reach = max([BEYOND * float(runs.flops.max()), *_computes(subject)])
        drawn += [surface(runs, found, subject.foretold, reach)]
        drawn += [best_size(runs, found, reach), residuals(runs, found)]
    return drawn


def _computes(subject: Subject) -> list[float]:
    """Where the best size is told: what was asked of the forecast, or beyond the runs."""
    asked = [at["flops"] for at in subject.forecast["at"]] if subject.forecast else []
    held_out = {row.cell.flops for row in subject.known if row.cell.held_out}
    if asked or held_out:
        # Whole steps never cost exactly what was asked: what reads the same is told once.
        return sorted({power(flops): flops for flops in (*held_out, *asked)}.values())
    largest = max(run.flops for run in subject.runs)
    return [BEYOND * largest, BEYOND**2 * largest]


def _figure(picture: chart.Picture, folder: Path) -> Element:
    svg = chart.save(picture.figure, folder / PICTURES, picture.name)
    links = [
        element("a", kind.upper(), href=f"{PICTURES}/{picture.name}.{kind}")
        for kind in ("png", "svg")
    ]
    caption = element("figcaption", picture.caption, " ", links[0], " ", links[1])
    return element("figure", drawing(svg, picture.name, picture.alt), caption)
