"""Real workers on a real study: undisturbed, stopped, killed, silent; cells that fail."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from launch.cli import main
from launch.config import save
from launch.ladder import claims
from launch.ladder.cells import Cell, cells_of
from launch.ladder.claims import Worker
from launch.ladder.directory import StudyDirectory, open_study
from launch.ladder.studies import smoke
from launch.ladder.study import GridRow, Power, Study
from tests.command import ROOT, arguments, meshloom
from train.report.writers import read_jsonl

SINGLE = dataclasses.replace(smoke(), grid=(GridRow(widths=(16,), flops=1e10),))
"""The first cell of `smoke`."""


def of_width(study: StudyDirectory, width: int) -> list[Cell]:
    return [cell for cell in study.cells if cell.width == width]


def losses(run: Path) -> dict[int, float]:
    """Losses by step, where every run records them, and the evaluation as step 0."""
    records = read_jsonl(run / "metrics.jsonl")
    losses_by_step = {r["step"]: r["loss"] for r in records if "loss" in r and r["step"] % 10 == 0}
    return losses_by_step | {0: records[-1]["eval_loss"]}


def test_a_branch_is_the_run_from_the_beginning(study: StudyDirectory, tmp_path: Path) -> None:
    short, long = of_width(study, 32)
    assert "resuming from step 69" in (study.of(long) / "log.txt").read_text()
    config = study.of(long) / "config.yaml"
    meshloom("train", "--config", str(config), "--run-dir", str(tmp_path / "run"))
    straight = losses(tmp_path / "run")
    assert losses(study.run_of(long)) == straight and len(straight) == 18
    assert losses(study.run_of(short)) != straight


def worker(study: Study, folder: Path) -> "subprocess.Popen[str]":
    """`meshloom ladder run` of a study in `folder`/study."""
    save(study, folder / "asked.yaml")
    words = ["ladder", "run", str(folder / "asked.yaml"), "--dir", str(folder / "study")]
    return subprocess.Popen(arguments(*words), cwd=ROOT, stdout=subprocess.PIPE, text=True)


def until(holds: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    """Wait until something holds, as long as a worker runs."""
    while not holds():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


@pytest.mark.long
def test_a_stopped_and_a_killed_worker_leave_no_trace(
    study: StudyDirectory, tmp_path: Path
) -> None:
    (cell,) = cells_of(SINGLE)
    here = tmp_path / "study" / "cells" / cell.name

    def newest(claim: int) -> int:
        metrics = here / "runs" / str(claim) / "metrics.jsonl"
        return max((r["step"] for r in read_jsonl(metrics)), default=0) if metrics.exists() else 0

    with worker(SINGLE, tmp_path) as first:
        until(lambda: newest(1) >= 10, first)
        first.terminate()
        assert first.wait() == 75
    saved = re.search(r"stopped by SIGTERM at step (\d+), saved", (here / "log.txt").read_text())
    assert saved and (here / "claims" / "1.released").exists()
    step = int(saved[1])
    with worker(SINGLE, tmp_path) as second:
        until(lambda: newest(2) > step, second)
        (training,) = psutil.Process(second.pid).children()
        second.kill()
        psutil.wait_procs([training])
    assert not (here / "claims" / "2.released").exists()
    with worker(SINGLE, tmp_path) as third:
        assert third.wait() == 0
    assert (here / "log.txt").read_text().count(f"resuming from step {step},") == 2
    assert [path.name for path in (here / "runs").iterdir()] == ["3"]
    result = (here / "result.json").read_bytes()
    assert result == (study.of(cell) / "result.json").read_bytes()


def test_a_cell_that_diverges_is_abandoned_at_once_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = dataclasses.replace(SINGLE, learning_rate=Power(factor=1e15))
    (cell,) = cells_of(wild)
    path = tmp_path / "study"
    with worker(wild, tmp_path) as first:
        said = first.communicate()[0]
        assert first.returncode == 1
    assert said.count("training, 397 steps") == 1
    assert f"{cell.name} failed: loss=" in said and "must be finite" in said
    assert "try a new run" not in said, "its advice is that of `meshloom train`"
    assert f"meshloom ladder run {path}/study.yaml --dir {path} --retry" in said
    assert main(["ladder", "run", str(path / "study.yaml"), "--dir", str(path)]) == 1
    assert "training" not in capsys.readouterr().out
    assert main(["ladder", "status", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "1 failed" in shown and "must be finite" in shown
    assert max(len(line) for line in shown.splitlines() if str(path) not in line) <= 80
    assert main(["ladder", "fit", str(path)]) == 1
    assert cell.name in capsys.readouterr().err


def stub(folder: Path, words: str) -> str:
    """A program that stands for Python, and so for the training: it runs these words of sh."""
    program = folder / "stub"
    program.write_text(f"#!/bin/sh\ncd {folder}\necho x >> tries\n{words}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("words", "tries", "why"),
    [
        ("kill -9 $$", 3, "killed by SIGKILL, as it is when memory runs out"),
        ("echo oh no; exit 70", 3, "oh no"),
        ("echo 'error: a=1 must be 2'; exit 1", 1, "a=1 must be 2"),
        # Four ends, each at another checkpoint, then three at the same.
        (
            "n=$(wc -l < tries); [ $n -gt 4 ] || { at=study/cells/*/runs; mkdir -p "
            "$(echo $at)/1/checkpoints/$n; touch $(echo $at)/1/checkpoints/$n/MANIFEST.json; }; "
            "exit 76",
            6,
            "exit code 76",
        ),
    ],
)
def test_a_cell_that_ends_unexpectedly_is_tried_again(
    words: str, tries: int, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", stub(tmp_path, words))
    save(SINGLE, tmp_path / "asked.yaml")
    run = ["ladder", "run", str(tmp_path / "asked.yaml"), "--dir", str(tmp_path / "study")]
    assert main(run) == 1
    (failed,) = (tmp_path / "study" / "cells").glob("*/failed.json")
    assert json.loads(failed.read_text())["why"] == why
    assert main(run) == 1
    assert (tmp_path / "tries").read_text().count("x") == tries
    assert main([*run, "--retry"]) == 1
    assert (tmp_path / "tries").read_text().count("x") > tries


STOPPABLE = (
    "import sys; from launch.ladder import claims; claims.SILENT = 1.0; sys.executable = {stub!r}; "
    "from launch.cli import program; program(['ladder', 'run', *sys.argv[1:]])"
)


def test_a_worker_that_stood_still_gives_its_cell_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "SILENT", 1.0)
    save(SINGLE, tmp_path / "asked.yaml")
    path = tmp_path / "study"
    code = STOPPABLE.format(stub=stub(tmp_path, "echo $$ > pid; exec sleep 600"))
    words = [sys.executable, "-c", code, str(tmp_path / "asked.yaml"), "--dir", str(path)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as first:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), first)
        training = psutil.Process(int((tmp_path / "pid").read_text()))
        study = open_study(path)
        (cell,) = study.cells
        other = Worker(path)
        assert other.claim(study.of(cell)) is None
        first.send_signal(signal.SIGSTOP)
        claim = None
        while claim is None:
            time.sleep(0.05)
            claim = other.claim(study.of(cell))
        assert claim.number == 2 and training.is_running()
        first.send_signal(signal.SIGCONT)
        psutil.wait_procs([training])
        assert claim.is_valid and not study.ended(cell)
        assert first.stdout is not None
        said = [first.stdout.readline() for _ in range(3)]
        assert said[1:] == [
            f"{cell.name}: another worker took it\n",
            f"waiting for other workers: {cell.name}\n",
        ]
        first.terminate()
        assert first.wait() == 75


def test_status_of_a_study_that_is_done(
    study: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ladder", "status", str(study.path)]) == 0
    shown = capsys.readouterr().out
    assert "\n4 done\n" in shown and "left" not in shown
    assert (study.path / "status.png").stat().st_size > 10_000
    assert main(["ladder", "fit", str(study.path)]) == 1
    assert "different params are fewer than" in capsys.readouterr().err


def test_status_of_a_study_that_goes_on(
    study: StudyDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study"
    shutil.copytree(study.path, path)
    rows = tuple(GridRow(widths=(16, 32), flops=flops) for flops in (4e10, 8e10))
    save(dataclasses.replace(smoke(), grid=(*smoke().grid, *rows)), path / "study.yaml")
    here, longer = Worker(path), open_study(path).cells[4:]
    for cell in longer:
        (path / "cells" / cell.name).mkdir()
    runs = next(cell for cell in longer if cell.width == 16)
    assert here.claim(path / "cells" / runs.name)
    assert main(["ladder", "status", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "\n4 done, 1 running, 3 waiting\n" in shown
    assert re.search(rf"{runs.name} .* running .*\n    by {here.name}\n", shown)
    assert f" waiting         0/3,179\n    for {runs.name}\n" in shown
    assert 0 < float(re.findall(r"about (\S+) minutes of training are left", shown)[0]) < 60
    assert max(len(line) for line in shown.splitlines() if str(path) not in line) <= 80
