"""`meshloom ladder report`: a study, or a table of runs, as one page and its pictures."""

import math
from pathlib import Path

from data import durable
from data.errors import UserError
from launch.ladder import chart, pictures, sections
from launch.ladder.runs import budgets, table
from launch.ladder.subject import BEYOND, Subject
from launch.page import Markup, drawing, element, page, section
from launch.process.typed import near

FOLDER = "report"


def write(subject: Subject, folder: Path) -> None:
    """Write report.html and report/*.png and .svg into a directory; ValueError if it cannot be
    written."""
    file = folder / "report.html"
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        with chart.styled():
            durable.write(file, _page(subject, folder))
    except OSError as error:
        raise UserError(
            f"out={folder} must be writable, because the page and its pictures are written into "
            f"it, but {error.strerror}: {error.filename}; try another --out"
        ) from error
    print(f"report: {near(file)}, pictures next to it in {FOLDER}/")


def _page(subject: Subject, folder: Path) -> str:
    drawn = [section(each.title, _figure(each, folder)) for each in _of_runs(subject)]
    tests = subject.backtests
    return page(
        f"Scaling study: {subject.name}",
        *sections.opening(subject),
        element("div", *drawn, class_="pictures"),
        *sections.predicted(subject, [_figure(pictures.forecasts(tests), folder)] if tests else []),
        *sections.best(subject),
        *sections.law(subject),
        *sections.runs(subject),
        *sections.origin(subject),
    )


def _of_runs(subject: Subject) -> list[chart.Picture]:
    """Pictures of the runs, as far as these allow them."""
    runs, law_fit = table(subject.runs), subject.fit
    if not all(((0 < column) & (column < math.inf)).all() for column in runs):
        return []  # all are on logarithmic axes; the page says which run it is
    drawn = []
    if any(len(budget.rows) > 1 for budget in budgets(runs.flops)):
        drawn.append(pictures.isoflop(runs, law_fit))
    if law_fit:
        reach = max([BEYOND * float(runs.flops.max()), *subject.computes])
        drawn.append(pictures.surface(runs, law_fit, subject.held_out, reach))
        drawn.append(pictures.best_size(runs, law_fit, reach))
        drawn.append(pictures.residuals(runs, law_fit))
    return drawn


def _figure(picture: chart.Picture, folder: Path) -> Markup:
    svg = chart.save(picture.figure, folder / FOLDER, picture.name)
    links = (
        element("a", kind.upper(), href=f"{FOLDER}/{picture.name}.{kind}")
        for kind in ("png", "svg")
    )
    caption = element("figcaption", picture.caption, *(part for at in links for part in (" ", at)))
    return element("figure", drawing(svg, picture.name, picture.title), caption)
