"""`meshloom ladder report`: the page of a study at any time, and its pictures."""

import math
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from launch.cli import main
from launch.ladder.directory import StudyDirectory, make_study, write_json
from launch.ladder.results import digest_of
from launch.ladder.studies import load_study
from launch.ladder.study import GridRow, Power, Study
from launch.ladder.surface import Surface
from model.families.family import Proportions

TRUTH = Surface(1.3, 28.0, 165.0, 0.30, 0.36)
WIDTHS = ((16, 32, 48, 64), (32, 48, 64, 80), (32, 48, 64, 96), (48, 64, 96, 128))
VOID = {"meta", "link", "img"}
PICTURES = ["best-size", "forecasts", "isoflop", "residuals", "surface"]


def fabricated(path: Path) -> StudyDirectory:
    """A study of 16 cells whose losses follow a surface with noise; those held out are not done."""
    study = make_study(
        path,
        Study(
            base=load_study("smoke").base,
            family=Proportions(head_dim=16, width_per_layer=16.0, mlp_ratio=8 / 3),
            learning_rate=Power(factor=4e-3),
            batch_tokens=Power(factor=512),
            grid=tuple(
                GridRow(widths=widths, flops=2e11 * 4**row) for row, widths in enumerate(WIDTHS)
            ),
            held_out=(GridRow(widths=(128,), flops=1e14, seeds=(0, 1, 2)),),
        ),
    )
    noise = np.random.default_rng(1).normal(0, 0.004, 16)
    grid = [cell for cell in study.cells if not cell.held_out]
    for cell, off in zip(grid, noise, strict=True):
        loss = float(TRUTH.loss(cell.flops_per_token / 6, cell.tokens) + off)
        finish(study, study.cells.index(cell), loss)
    return study


def finish(study: StudyDirectory, place: int, loss: float) -> None:
    result = {"loss": loss, "data_digest": "ab12" * 16}
    write_json(study.of(study.cells[place]) / "result.json", result)


def grid_of(study: StudyDirectory) -> list[str]:
    return [cell.name for cell in study.cells if not cell.held_out]


def page_of(folder: Path) -> str:
    assert main(["ladder", "report", str(folder)]) == 0
    return (folder / "report.html").read_text(encoding="ascii")


class Reader(HTMLParser):
    """Text, attributes and pictures of a page; fails where a tag is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.source = page
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self.tags: Counter[str] = Counter()
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def text(self, *tags: str) -> str:
        return "\n".join(text for tag, text in self.texts if not tags or tag in tags)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyDirectory, Reader]:
    """A study that was foretold, and all of whose cells are done."""
    study = fabricated(tmp_path_factory.mktemp("sound"))
    held_out = [place for place, cell in enumerate(study.cells) if cell.held_out]
    cell = study.cells[held_out[0]]
    target = {
        "name": f"w128-n{cell.config.train.steps}",
        "flops": cell.flops,
        "seeds": 3,
        "cells": [study.cells[place].name for place in held_out],
        "loss": {"value": 2.2, "low": 2.15, "high": 2.26},
    }
    names = grid_of(study)
    forecast = {"inputs": digest_of(study, names), "cells": names, "runs": 16}
    forecast |= {
        "written": "2026-01-02T03:04:05Z",
        "approach": "surface, least squares",
        "held_out": [target],
    }
    forecast |= {"at": [{"flops": 1.0001e14, "reason": "of a test"}]}
    write_json(study.path / "forecast.json", forecast)
    for place, loss in zip(held_out, (2.17, 2.18, 2.19), strict=True):
        finish(study, place, loss)
    return study, Reader(page_of(study.path))


def test_every_cell_stands_in_the_page(sound: tuple[StudyDirectory, Reader]) -> None:
    study, page = sound
    text = page.text()
    for cell in study.cells:
        result = study.result(cell)
        assert result is not None
        assert cell.name in text and f"{result['loss']:.4f}" in text
        assert f"{cell.parameters:,}" in text and f"{cell.tokens:,}" in text
    assert "ab12" * 16 in text and digest_of(study, grid_of(study)) in text and "jax " in text
    assert "head_dim: 16" in page.text("pre")


def test_laws_and_forecasts_come_with_intervals_and_runs(
    sound: tuple[StudyDirectory, Reader],
) -> None:
    _, page = sound
    text = page.text()
    exponent = re.search(r"alpha, exponent of parameters\n([\d.]+)\n([\d.]+) to ([\d.]+)\n16", text)
    assert exponent
    value, low, high = map(float, exponent.groups())
    assert low < value < high and math.isclose(value, TRUTH.alpha, rel_tol=0.05)
    assert "3 sizes were trained for 3 or more numbers of tokens" in text
    assert "2.2000\n2.1500 to 2.2600\n2.1800\n2.1552 to 2.2048\n+0.92%\ninside" in text
    assert text.count("1e14\nsurface, least squares\n") == 1 and "FLOPs = 6 N D" in text
    assert "the largest compute, left out" in text and "OUTSIDE" not in text
    captions = re.findall(r"<figcaption>(.*?)<a", page.source)
    assert len(captions) == len(PICTURES)
    assert all("16 runs" in caption for caption in captions[:4])


def test_pictures_are_drawn_in_the_page_and_next_to_it(
    sound: tuple[StudyDirectory, Reader],
) -> None:
    study, page = sound
    assert page.tags["svg"] == len(page.values("aria-label")) == len(PICTURES)
    for name in PICTURES:
        picture = imread(study.path / "report" / f"{name}.png")[..., :3]
        assert (picture.min(axis=-1) < 0.9).mean() > 0.01
        assert "<svg" in (study.path / "report" / f"{name}.svg").read_text()
    assert len(set(page.values("id"))) == len(page.values("id"))
    used = {value.removeprefix("#") for value in page.values("href") if value.startswith("#")}
    assert used <= set(page.values("id"))


def test_nothing_is_loaded_from_elsewhere(sound: tuple[StudyDirectory, Reader]) -> None:
    study, page = sound
    links = {value for value in page.values("href") if not value.startswith(("#", "data:"))}
    assert len(links) == 2 * len(PICTURES)
    assert all((study.path / link).is_file() for link in links)
    assert not page.values("src") and not page.tags["script"] and not page.tags["link"]
    text = (study.path / "report.html").read_text()
    assert "http" not in text and "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []


def test_a_spoilt_study_says_why_it_has_no_law_and_the_same_again(tmp_path: Path) -> None:
    study = fabricated(tmp_path)
    finish(study, 5, 4.5)
    text = page_of(tmp_path)
    page = Reader(text)
    assert "No law follows from these runs" in page.text("h2")
    assert f"{study.cells[5].name} has a loss of 4.5000" in page.text("li")
    assert "The law" not in page.text("h2") and "4.5000" in page.text("td")
    assert page.tags["svg"] == 1
    picture = (tmp_path / "report" / "isoflop.png").read_bytes()
    assert page_of(tmp_path) == text
    assert (tmp_path / "report" / "isoflop.png").read_bytes() == picture


def test_an_unfinished_study_tells_what_lacks_and_markup_stays_text(tmp_path: Path) -> None:
    folder = tmp_path / "a <b>&amp; \"c'"
    study = fabricated(folder)
    for cell in study.cells:
        (study.of(cell) / "result.json").unlink(missing_ok=True)
    failed = {"code": 1, "why": "<script>alert(1)</script>", "tries": 3}
    write_json(study.of(study.cells[0]) / "failed.json", failed)
    page = Reader(page_of(folder))
    assert folder.name in page.text("h1") and folder.name in page.text("title")
    assert f"{study.cells[0].name}: failed, <script>alert(1)</script>" in page.text("li")
    assert f"{study.cells[1].name}: waiting" in page.text("li")
    assert "16 of the 16 cells of the grid are not done" in page.text("li")
    assert not page.tags["b"] and not page.tags["script"] and not page.tags["svg"]


def test_a_forecast_of_other_results_is_not_compared(tmp_path: Path) -> None:
    study = fabricated(tmp_path)
    assert main(["ladder", "forecast", str(study.path)]) == 0
    finish(study, 5, 4.5)
    page = Reader(page_of(study.path))
    assert "The forecast is not compared" in page.text("h2")
    assert "they have changed since it was written" in page.text("p")


def test_a_table_of_runs_is_reported_next_to_it(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("N,D,final\n1000000,2e7,3.5\n2000000,1e7,3.625\n")
    words = ["ladder", "report", "--csv", str(tmp_path / "runs.csv")]
    assert main([*words, "--columns", "params=N,tokens=D,loss=final"]) == 0
    page = Reader((tmp_path / "report.html").read_text())
    assert "A table of 2 runs" in page.text("p")
    assert "line 3\n2,000,000\n10,000,000\n1.2e14\n3.6250" in page.text("td")
    assert (tmp_path / "report" / "isoflop.svg").is_file()


def test_a_table_of_many_computes_has_room_for_its_picture(tmp_path: Path) -> None:
    """Not all of them are named below it; without room drawing warns."""
    rows = [f"{1e7 * size},{1e9 * 1.2**n},20\n" for n in range(60) for size in (1, 2)]
    (tmp_path / "runs.csv").write_text("params,tokens,loss\n" + "".join(rows))
    assert main(["ladder", "report", "--csv", str(tmp_path / "runs.csv")]) == 0
    page = Reader((tmp_path / "report.html").read_text())
    assert "as if it were a perplexity" in page.text("li")
    assert imread(tmp_path / "report" / "isoflop.png").shape[0] < 2000


def test_a_directory_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs.csv").write_text("N,D,final\n1000000,2e7,3.5\n")
    (tmp_path / "report").write_text("")
    words = ["ladder", "report", "--csv", str(tmp_path / "runs.csv")]
    assert main([*words, "--columns", "params=N,tokens=D,loss=final"]) == 1
    assert f"out={tmp_path} must be writable" in capsys.readouterr().err
