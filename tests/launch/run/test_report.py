"""Writers that cannot start are reported and left out."""

import dataclasses
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from launch.presets.preset import preset
from launch.run.directory import RunDirectory
from launch.run.report import Report
from train.report.record import Place
from train.report.writers import read_jsonl

CONFIG = preset("tiny")
START = Place(step=0, examples=0)
BROKEN = "def init(**settings):\n    raise RuntimeError('no network')\n"


def test_writers_that_cannot_start_do_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wandb.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    (run.path / "tensorboard").touch()
    report = Report(dataclasses.replace(CONFIG, tensorboard=True, wandb="mine"), {})
    with ExitStack() as closing:
        write = report.open_writers(run, START, 10, closing)
        write({"step": 1, "loss": 2.0})
    assert [record["step"] for record in read_jsonl(run.metrics)] == [1]
    shown = capsys.readouterr().out
    assert shown.count("cannot be written and is left out; the run continues. ") == 2
    assert "RuntimeError: no network" in shown and "NotADirectoryError" in shown


def test_a_damaged_file_is_named_where_a_writer_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wandb.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    (tmp_path / "wandb.json").write_text("{bad")
    report = Report(dataclasses.replace(CONFIG, tensorboard=False, wandb="mine"), {})
    with ExitStack() as closing:
        report.open_writers(RunDirectory(tmp_path), START, 10, closing)
    out = capsys.readouterr().out
    assert f"the run continues. wandb.json={tmp_path / 'wandb.json'} must hold" in out
