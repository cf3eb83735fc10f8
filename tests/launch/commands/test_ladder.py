"""`meshloom ladder fit` from a table to words, JSON or a refusal."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from launch.cli import main
from launch.ladder.power_law import Unfit, valley
from launch.ladder.runs import Table, budgets
from launch.ladder.surface import Surface
from tests.bench.ladder_runs import TARGET, TRUTH, sound
from tests.command import ROOT

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


def test_a_sound_table_shows_the_true_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "runs.csv", 0.005)
    words = ["ladder", "fit", "--csv", path, "--columns", NAMED]
    assert main([*words, "--flops", str(TARGET), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    left = facts["largest_left_out"]
    assert left["low"] < left["measured"] < left["high"] < left["low"] + 0.1
    squares, _, parabola, envelope = facts["approaches"]
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


SPOILT = (2, 3, 4, 5, 6, 7, 12, 13)
"""Lines of the published table whose losses lie far above the others'."""
CHANCE = slice(100, 104)
"""Four runs that share a compute, and in whose losses noise hides the best size."""


def published_table(path: Path) -> Table:
    """245 runs with the columns, sizes, computes and noise of Besiroglu et al. 2024: half of them
    near nine computes, the others at any."""
    chance = np.random.default_rng(0)
    planned = np.array([5.5e18, 9.3e18, 2.8e19, 5.5e19, 9.6e19, 2.8e20, 5.7e20, 9.8e20, 3e21])
    near = np.repeat(planned, 13) * chance.uniform(0.96, 1.04, 117)
    flops = np.concatenate([near, np.exp(chance.uniform(np.log(2e18), np.log(5e21), 128))])
    flops = chance.permutation(flops)
    ratio = np.exp(chance.normal(np.log(23), 1.2, 245)).clip(0.7, 340)
    params = np.sqrt(flops / (6 * ratio))
    noise = chance.normal(0, 0.013, 245)
    flops[CHANCE] = 1.93e20 * np.array([0.99, 1.0, 1.01, 1.02])
    params[CHANCE] = 1.9e9 * np.array([0.9, 1.0, 1.1, 1.2])
    noise[CHANCE] = np.array([-0.015, 0.01, 0.012, -0.012])
    loss = PUBLISHED.loss(params, flops / (6 * params)) + noise
    rows = np.array(SPOILT) - 2
    loss[rows] += [1.4, 1.1, 0.5, 0.4, 0.25, 0.2, 0.2, 0.18]
    lines = [",".join(map(str, row)) for row in np.stack([params, flops, loss], axis=1).tolist()]
    path.write_text("Model Size,Training FLOP,loss\n" + "\n".join(lines))
    return Table(params, flops / (6 * params), flops, loss)


def test_the_guides_command_fits_a_table_like_what_was_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (ROOT / "docs" / "ladder.md").read_text(encoding="utf-8")
    shown = re.search(r"`meshloom (ladder fit --csv (svg_\S+) [^`]+)`", guide)
    assert shown
    words = shlex.split(shown[1])
    assert words[words.index("--exclude") + 1 :] == [str(line) for line in SPOILT]
    monkeypatch.chdir(tmp_path)
    runs = published_table(Path(shown[2]))
    (shared,) = (at for at in budgets(runs.flops) if CHANCE.start in at.rows)
    with pytest.raises(Unfit, match="opens downwards"):
        valley(runs, shared)
    assert main(words[: words.index("--exclude")]) == 1
    assert set(re.findall(r"line (\d+) has a loss", capsys.readouterr().err)) <= set(words[-8:])
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["runs"] == 237
    for approach in facts["approaches"][:2]:
        for name, constant in approach["constants"].items():
            low, high = constant["interval"]
            assert low < getattr(PUBLISHED, name) < high, (approach["name"], name)
        assert "params" in approach["optimum"][0]
    assert re.search(r"parabola.*\(line \d+", facts["approaches"][2]["reason"])
    assert main(words) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def bent(path: Path) -> str:
    """A table whose losses fall ever more slowly than a sum of powers does."""
    runs = sound(np.random.default_rng(0).normal(0, 0.003, 35))
    loss = runs.loss + 0.0015 * np.log(runs.flops / 1e18) ** 2
    rows = zip(runs.params, runs.tokens, loss, strict=True)
    path.write_text("N,D,final\n" + "".join(f"{n:.0f},{d:.0f},{of:.6f}\n" for n, d, of in rows))
    return str(path)


def test_a_failed_backtest_is_said_first_and_marks_what_lies_beyond(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bent(tmp_path / "runs.csv")
    words = ["ladder", "fit", "--csv", path, "--columns", NAMED, "--flops", "1e19", "1e21"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.startswith("FAILED BACKTEST: the largest compute, left out: predicted ")
    assert max(map(len, text.splitlines())) <= 80
    mark = "  EXTRAPOLATION OF A LAW THAT FAILED ITS BACKTEST"
    assert text.count(mark) == 1 and f"at 1e+21 FLOPs, with 95 % intervals:\n{mark}" in text
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert next(iter(facts)) == "failed_backtests" and not facts["largest_left_out"]["inside"]
    (miss,) = facts["failed_backtests"]
    assert not miss["low"] <= miss["measured"] <= miss["high"]
    within, beyond = (at["loss"] for at in facts["approaches"][0]["optimum"])
    off = abs(miss["off"])
    assert within["high"] - within["low"] > 2 * off * within["value"]
    assert beyond["high"] - beyond["low"] > 4 * off * beyond["value"]
    assert main(["ladder", "report", "--csv", path, "--columns", NAMED]) == 0
    page = (tmp_path / "report.html").read_text()
    assert page.index("FAILED BACKTEST") < page.index('class="cards"')
    assert mark.strip() in page


def test_text_that_was_repeated_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = sound(np.random.default_rng(0).normal(0, 0.005, 35))
    rows = zip(runs.params, runs.tokens, runs.loss, strict=True)
    lines = [f"{n:.0f},{d:.0f},{loss:.6f},1.7e10\n" for n, d, loss in rows]
    (tmp_path / "runs.csv").write_text("N,D,final,text\n" + "".join(lines))
    words = ["ladder", "fit", "--csv", str(tmp_path / "runs.csv"), "--columns"]
    assert main([*words, f"{NAMED},unique=text"]) == 0
    text = capsys.readouterr().out
    often = [n for n, tokens in enumerate(runs.tokens, 2) if tokens > 4 * 1.7e10]
    assert 1 <= len(often) <= 6
    assert f"REPEATED TEXT: {len(often)} run" in text and "as fresh; with unique=" not in text
    assert all(f"line {line}" in text for line in often)
    assert main([*words, NAMED]) == 0
    text = capsys.readouterr().out
    assert "REPEATED" not in text and "it takes all tokens as fresh" in text


def test_flops_that_sizes_do_not_follow_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = sound(np.random.default_rng(0).normal(0, 0.005, 35))
    flops = runs.flops * (runs.params / 4e9) ** 0.05
    rows = zip(runs.params, runs.tokens, flops, runs.loss, strict=True)
    lines = [",".join(map(str, row)) + "\n" for row in rows]
    (tmp_path / "runs.csv").write_text("N,D,C,final\n" + "".join(lines))
    words = ["ladder", "fit", "--csv", str(tmp_path / "runs.csv"), "--columns"]
    assert main([*words, f"{NAMED},flops=C"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "N AND FLOPS DISAGREE: FLOPs are 0.76 of 6 N D at the smallest size and 1.00" in text
    assert main([*words, NAMED]) == 0
    assert "DISAGREE" not in capsys.readouterr().out
