"""`meshloom ladder fit` from a table to words, JSON or a refusal."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from launch.bench.ladder import TARGET, TRUTH, sound
from launch.cli import main
from launch.ladder.surface import Surface

NAMED = "params=N,tokens=D,loss=final"
PUBLISHED = Surface(1.8172, 482.01, 2085.43, 0.3478, 0.3658)
"""Besiroglu et al. 2024 (arXiv:2404.10102)."""


def written(path: Path, noise: float, spoilt: float = 0.0) -> str:
    """A table of 35 runs whose true surface is known; the tenth, in line 11, is spoilt."""
    runs = sound(np.random.default_rng(0).normal(0, noise, 35))
    runs.loss[9] += spoilt
    rows = zip(runs.params, runs.tokens, runs.loss, strict=True)
    lines = [f"{params:.0f},{tokens:.0f},{loss:.6f}\n" for params, tokens, loss in rows]
    path.write_text("N,D,final\n" + "".join(lines))
    return str(path)


def test_a_sound_table_tells_the_true_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "runs.csv", 0.005)
    words = ["ladder", "fit", "--csv", path, "--columns", NAMED]
    assert main([*words, "--flops", str(TARGET), "--json"]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    left = told["largest_left_out"]
    assert left["low"] < left["measured"] < left["high"] < left["low"] + 0.1
    squares, _, parabola, envelope = told["approaches"]
    for approach in (squares, parabola):
        size = approach["optimum"][0]["params"]
        assert size["low"] < TRUTH.optimal_params(TARGET) < size["high"] < 2 * size["low"]
    assert "numbers of tokens" in envelope["reason"]


def test_a_spoilt_table_is_refused_by_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "runs.csv", 0.005, spoilt=0.3)
    assert main(["ladder", "fit", "--csv", path, "--columns", NAMED]) == 1
    output = capsys.readouterr()
    assert "line 11 has a loss of 3." in output.err and "--exclude" in output.err
    assert output.out == ""


def test_text_fits_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "runs.csv", 0.005)
    assert main(["ladder", "fit", "--csv", path, "--columns", NAMED, "--flops", "1e21"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("35 runs of 1.85e+07 to 3.71e+09 parameters, 5 computes")
    assert lines[4] == "  surface, least squares" and lines[5].startswith("    E      1.7")
    assert [line for line in lines if line.startswith("without the 7 runs of the most compute")]
    assert "at 1e+21 FLOPs, with 95 % intervals:" in lines


def test_excluded_lines_leave_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "runs.csv", 0.005, spoilt=3.0)
    assert main(["ladder", "fit", "--csv", path, "--columns", NAMED, "--exclude", "11"]) == 0
    assert capsys.readouterr().out.startswith("34 runs ")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--columns", "params=N,tokens=D,loss=fianl"], "'fianl' must be a column of .*'final'"),
        (["--columns", "params=N,loss=final"], "both tokens and flops are missing"),
        (["--columns", NAMED, "--exclude", "99"], "exclude=99 must be a line"),
    ],
)
def test_what_cannot_be_fitted_is_said(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "runs.csv", 0.005)
    assert main(["ladder", "fit", "--csv", path, *words]) == 1
    output = capsys.readouterr()
    assert re.search(reason, output.err) and output.out == ""


def test_a_published_law_comes_back_from_runs_drawn_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sizes, computes and noise as in the runs of Besiroglu et al. 2024, with their columns."""
    chance = np.random.default_rng(0)
    params = np.exp(chance.uniform(np.log(5.7e7), np.log(1.6e10), 120))
    flops = 6 * params**2 * np.exp(chance.uniform(np.log(3), np.log(200), 120))
    loss = PUBLISHED.loss(params, flops / (6 * params)) + chance.normal(0, 0.012, 120)
    table = np.stack([params, flops, loss], axis=1)
    path = tmp_path / "svg_extracted_data.csv"
    lines = [",".join(map(str, row)) for row in table.tolist()]
    path.write_text("Model Size,Training FLOP,loss\n" + "\n".join(lines))
    columns = "params=Model Size,flops=Training FLOP,loss=loss"
    assert main(["ladder", "fit", "--csv", str(path), "--columns", columns, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    for approach in told["approaches"][:2]:
        for name, constant in approach["constants"].items():
            low, high = constant["interval"]
            assert low < getattr(PUBLISHED, name) < high, (approach["name"], name)
