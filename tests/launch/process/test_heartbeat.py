import json
import os
import threading
import time
from pathlib import Path

import pytest

from launch.process import heartbeat
from train.report.phases import Phases


def beat(path: Path, step: int | None) -> dict:
    """The first heartbeat that tells of this step."""
    pause = threading.Event()
    for _ in range(3000):
        if path.exists() and (content := json.loads(path.read_text()))["step"] == step:
            return content
        pause.wait(0.02)
    raise AssertionError("no heartbeat")


def test_tells_what_the_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "heartbeat"
    monkeypatch.setenv(heartbeat.VARIABLE, str(path))
    monkeypatch.setattr(heartbeat, "EVERY", 0.01)
    phases = Phases()
    heart = heartbeat.Heartbeat(phases)
    content = beat(path, None)
    assert (content["process"], content["phase"], content["pid"]) == (None, "start", os.getpid())
    heart.process = 3
    phases.begin_steps(6)
    phases.finished(7, 0.0)
    content = beat(path, 7)
    assert (content["process"], content["phase"]) == (3, "step")
    assert content["phase_since"] <= content["time"] <= time.time()


def test_without_the_variable_there_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(heartbeat.VARIABLE, raising=False)
    before = threading.active_count()
    heartbeat.Heartbeat(Phases())
    assert threading.active_count() == before


def test_a_file_that_cannot_be_written_is_reported_once_and_the_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "later"
    monkeypatch.setenv(heartbeat.VARIABLE, str(folder / "heartbeat"))
    monkeypatch.setattr(heartbeat, "EVERY", 0.01)
    phases = Phases()
    heartbeat.Heartbeat(phases)
    threading.Event().wait(0.1)
    folder.mkdir()
    beat(folder / "heartbeat", None)
    assert capsys.readouterr().err.count("cannot be written; the run continues.") == 1
