"""The records of a report: each run, and what they were made with."""

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

import yaml
from scipy.stats import t

from data import system
from launch.config import to_dict
from launch.ladder.digits import loss, power
from launch.ladder.directory import Known, StudyDirectory
from launch.ladder.fit import Fit
from launch.ladder.interval import LEVEL
from launch.ladder.page import Node, element, table
from launch.ladder.results import digest_of, grid_of, run_of
from launch.ladder.runs import Run
from launch.ladder.subject import Subject
from launch.ladder.surface import Surface
from launch.run.directory import RunDirectory
from launch.run.environment import environment


def runs(subject: Subject) -> list[Element]:
    """Every cell of a study, or every run of a table."""
    found, note = subject.found, "One run each; without a law their losses have no interval."
    if found:
        reach = float(t.ppf((1 + LEVEL) / 2, found.surface.free)) * found.noise
        note = (
            f"One run each. Another seed lies within {reach:.2g} nats of the law 95 of 100 times; "
            "the last column tells how many standard deviations a run lies off it."
        )
    made = _cells(subject) if subject.known else _rows(subject)
    head = element("h2", "Cells" if subject.known else "Runs")
    return [element("section", head, made, element("p", note, class_="note"), class_="long")]


def _cells(subject: Subject) -> Element:
    head = ["cell", "state", "parameters", "without embeddings", "tokens", "FLOPs", "steps"]
    rows = (_cell(row, subject.found) for row in subject.known)
    return table([*head, "loss", "off the law", ""], rows, frozenset({0, 1, 9}))


def _cell(row: Known, found: Fit | None) -> list[Node]:
    cell = row.cell
    ended, off = "", ""
    if row.result:
        ended = loss(row.result["loss"])
        off = _off(run_of(cell, row.result["loss"]), found)
    return [
        element("code", cell.name),
        f"{row.state}, held out" if cell.held_out else row.state,
        f"{cell.parameters:,}",
        f"{cell.parameters_without_embeddings:,}",
        f"{cell.tokens:,}",
        power(cell.flops),
        f"{cell.config.train.steps:,}",
        ended,
        off,
        row.told,
    ]


def _rows(subject: Subject) -> Element:
    rows = (
        [
            run.name,
            f"{run.params:,.0f}",
            f"{run.tokens:,.0f}",
            power(run.flops),
            loss(run.loss),
            _off(run, subject.found),
        ]
        for run in subject.runs
    )
    return table(["run", "N", "tokens", "FLOPs", "loss", "off the law"], rows, frozenset({0}))


def _off(run: Run, found: Fit | None) -> str:
    """Standard deviations by which a run lies above the law."""
    if not found:
        return ""
    assert isinstance(found.surface.law, Surface)
    return f"{(run.loss - found.surface.law.loss(run.params, run.tokens)) / found.noise:+.1f}"


def origin(subject: Subject) -> list[Element]:
    """Versions, digests and settings."""
    lines = [f"This page: {_told(environment())}"]
    settings: list[Node] = []
    if study := subject.study:
        lines += [f"Cells: {told}" for told in sorted(set(_environments(study)))]
        digests = {row.result["data_digest"] for row in subject.known if row.result}
        lines += [f"Data digest {digest}" for digest in sorted(digests)]
        digest = digest_of(study, grid_of(study))
        lines.append(f"Digest of the results that the law is fitted to: {digest}")
        text = yaml.safe_dump(to_dict(study.study), sort_keys=False)
        settings = [
            element("details", element("summary", "Settings of the study"), element("pre", text))
        ]
    listed = element("ul", *(element("li", element("code", line)) for line in lines))
    head = element("h2", "Made with")
    return [element("section", head, listed, *settings, class_="long")]


def _environments(study: StudyDirectory) -> Iterator[str]:
    """Versions that cells were trained with; none of a file that is not there or is damaged, as no
    result needs it."""
    for path in (run for cell in study.cells for run in study.runs_of(cell)):
        try:
            starts = system.read_json(RunDirectory(path).environment)
            told = list(map(_told, starts))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
        yield from told


def _told(start: dict[str, Any]) -> str:
    versions = {"python": start["python"], **start["versions"]}
    return ", ".join(f"{name} {version}" for name, version in versions.items())
