"""A forecast is made once, of what is not known yet, and compared with what came of it."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from launch import exit_codes
from launch.cli import main
from launch.config import save
from launch.ladder.cells import Cell
from launch.ladder.directory import StudyDirectory, make_study, write_json
from launch.ladder.studies import smoke
from launch.ladder.study import GridRow, Study

STUDY = dataclasses.replace(
    smoke(),
    grid=tuple(GridRow(widths=(32, 48, 64, 80, 96), flops=1e12 * 4**n) for n in range(3)),
    held_out=(GridRow(widths=(96,), flops=2e14, seeds=(0, 1)),),
)
FLOPS = "1e15"


def true_loss(cell: Cell) -> float:
    """Of a surface whose best sizes lie inside of the grid, and a little chance."""
    size = cell.flops_per_token / 6
    chance = int(cell.digest[:4], 16) / 16**4 - 0.5
    return 1.0 + 30 * size**-0.4 + 900 * cell.tokens**-0.5 + 1e-3 * chance


def finish(study: StudyDirectory, *, held_out: bool, above: float = 0.0) -> None:
    """Let all cells of the grid, or all held-out ones, have ended as `true_loss` says, or above."""
    for cell in study.cells:
        if cell.held_out == held_out:
            result = {"name": cell.name, "loss": true_loss(cell) + above, "data_digest": "same"}
            write_json(study.of(cell) / "result.json", result)


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> StudyDirectory:
    """A study whose grid is trained, and what is held out predicted."""
    study = make_study(tmp_path_factory.mktemp("predicted"), STUDY)
    finish(study, held_out=False)
    assert main(["ladder", "forecast", str(study.path), "--flops", FLOPS]) == 0
    return study


@pytest.fixture
def study(predicted: StudyDirectory, tmp_path: Path) -> StudyDirectory:
    """A copy of it, to be changed."""
    shutil.copytree(predicted.path, tmp_path / "study")
    return StudyDirectory(tmp_path / "study", STUDY)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["ladder", *words]) in (exit_codes.REFUSED, exit_codes.USAGE)
    return capsys.readouterr().err


def run_held_out(study: StudyDirectory, asked: Study, tmp_path: Path) -> list[str]:
    file = tmp_path / "asked.yaml"
    save(asked, file)
    return ["run", str(file), "--dir", str(study.path), "--held-out"]


def test_what_is_held_out_waits_for_its_forecast(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(tmp_path / "study", STUDY)
    finish(study, held_out=False)
    said = refusal(capsys, *run_held_out(study, STUDY, tmp_path))
    assert "held_out=True must come after a forecast" in said
    assert f"meshloom ladder forecast {study.path}" in said
    finish(study, held_out=True)
    said = refusal(capsys, "forecast", str(study.path))
    assert "must be written before held-out cells are trained" in said
    assert not (study.path / "forecast.json").exists()


def test_a_forecast_needs_the_whole_grid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(tmp_path / "study", STUDY)
    finish(study, held_out=False)
    last = study.cells[0]
    (study.of(last) / "result.json").unlink()
    said = refusal(capsys, "forecast", str(study.path))
    assert "1 of 15 are not done" in said and last.name in said


@pytest.mark.parametrize(
    ("field", "message"),
    [("data_digest", "have 2 data digests"), ("dtype", "there are bfloat16 and float32")],
)
def test_cells_that_cannot_be_compared_are_not_fitted(
    field: str, message: str, study: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, cell in enumerate(study.cells[:15]):
        file = study.of(cell) / "result.json"
        other = "bfloat16" if place == 3 else "float32"
        write_json(file, json.loads(file.read_text()) | {field: other})
    assert message in refusal(capsys, "fit", str(study.path))


def test_a_forecast_is_compared_with_what_came(
    study: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    written = (study.path / "forecast.json").read_bytes()
    assert main(["ladder", "forecast", str(study.path)]) == 0
    before = capsys.readouterr().out
    assert "measured: 0 of 2 are trained" in before and "at 1e+15 FLOPs:" in before
    finish(study, held_out=True)
    assert main(["ladder", "forecast", str(study.path)]) == 0
    after = capsys.readouterr().out
    line = r"measured \d\.\d{4} .*: predicted [+-]0\.\d\d% off, inside the interval"
    assert re.search(line, after)
    assert max(map(len, after.splitlines())) <= 80
    assert main(["ladder", "forecast", str(study.path), "--json"]) == 0
    (target,) = json.loads(capsys.readouterr().out)["held_out"]
    assert target["measured"] == [true_loss(cell) for cell in study.cells if cell.held_out]
    assert (study.path / "forecast.json").read_bytes() == written


def test_a_held_out_cell_outside_its_interval_is_said_first_and_widens_what_is_fitted_later(
    study: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = ["ladder", "fit", str(study.path), "--flops", FLOPS, "--json"]
    assert main(fitted) == 0
    before = json.loads(capsys.readouterr().out)
    finish(study, held_out=True, above=0.1)
    assert main(["ladder", "forecast", str(study.path)]) == 0
    after = capsys.readouterr().out
    assert after.startswith("FAILED BACKTEST: held out w96-n")
    assert "OUTSIDE the interval" in after
    assert f"meshloom ladder fit {study.path}" in " ".join(after.split())
    assert "at 1e+15 FLOPs:\n  EXTRAPOLATION OF A LAW THAT FAILED ITS BACKTEST" in after
    assert main(["ladder", "forecast", str(study.path), "--json"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["failed_backtests"]
    assert warning.startswith("FAILED BACKTEST: held out w96-n")
    assert main(fitted) == 0
    later = json.loads(capsys.readouterr().out)
    assert not before["failed_backtests"] and len(later["failed_backtests"]) == 1
    assert before["approaches"][0]["constants"] == later["approaches"][0]["constants"]
    old, new = (of["approaches"][0]["optimum"][0]["loss"] for of in (before, later))
    assert new["low"] < old["value"] - 0.1 < old["low"] and old["high"] < new["high"]
    assert main(["ladder", "report", str(study.path)]) == 0
    page = (study.path / "report.html").read_text()
    assert page.index("FAILED BACKTEST: held out w96-n") < page.index('class="cards"')


def test_cells_that_read_their_text_often_are_named(
    study: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    for cell, often in zip(study.cells[:2], (3.9, 4.5), strict=True):
        file = study.of(cell) / "result.json"
        unique = int(cell.tokens / often)
        write_json(file, json.loads(file.read_text()) | {"unique_tokens": unique})
    assert main(["ladder", "fit", str(study.path), "--json"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert warning.startswith("REPEATED TEXT: 1 run read text") and study.cells[1].name in warning
    assert study.cells[0].name not in warning and "up to 4.5 times" in warning


def test_a_forecast_of_other_results_is_refused(
    study: StudyDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = study.of(study.cells[0]) / "result.json"
    write_json(first, json.loads(first.read_text()) | {"loss": 3.0})
    for words in (run_held_out(study, STUDY, tmp_path), ["forecast", str(study.path)]):
        assert "but they have changed since it was written" in refusal(capsys, *words)


@pytest.mark.parametrize("seeds", [(0, 1, 2), (7, 8)])
def test_what_is_held_out_stays_what_was_predicted(
    seeds: tuple[int, ...],
    study: StudyDirectory,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    held_out = dataclasses.replace(STUDY.held_out[0], seeds=seeds)
    other = dataclasses.replace(STUDY, held_out=(held_out,))
    said = refusal(capsys, *run_held_out(study, other, tmp_path))
    assert "must be what" in said and f"-s{seeds[-1]}-" in said and "-s0-" in said
    assert "must be what" in refusal(capsys, "forecast", str(study.path))


def test_a_forecast_of_an_older_version_is_read(
    study: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study.path / "forecast.json"
    forecast = json.loads(file.read_text())
    forecast["made"] = forecast.pop("written")
    write_json(file, forecast)
    assert main(["ladder", "forecast", str(study.path)]) == 0
    assert f"written {forecast['made']}, by" in capsys.readouterr().out


def test_a_grid_may_change_after_its_forecast(
    study: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(study, held_out=True)
    make_study(study.path, dataclasses.replace(STUDY, grid=STUDY.grid[:2]))
    assert main(["ladder", "forecast", str(study.path)]) == 0
    assert "inside the interval" in capsys.readouterr().out


def test_a_held_out_cell_that_was_begun_cannot_be_predicted(
    study: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    (study.path / "forecast.json").unlink()
    (study.of(study.cells[-1]) / "runs" / "1").mkdir(parents=True)
    said = refusal(capsys, "forecast", str(study.path))
    assert f"{study.cells[-1].name} was begun" in said


@pytest.mark.parametrize("flops", ["-1", "nan", "3e15"])
def test_computes_without_a_forecast_are_refused(
    flops: str, study: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(capsys, "forecast", str(study.path), "--flops", flops)
    assert f"flops={float(flops):g}" in said.replace("-1.0", "-1") and "try" in said


def test_a_damaged_forecast_is_refused(
    study: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    (study.path / "forecast.json").write_text("{")
    said = refusal(capsys, "forecast", str(study.path))
    assert "forecast.json must hold a JSON object" in said
