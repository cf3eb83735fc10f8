"""What a supervised training makes of its run directory, in the states a kill or a disk leaves."""

from pathlib import Path

import pytest

from launch.cluster.failure import Failure
from launch.cluster.local import LocalOptions, LocalPlaces
from launch.cluster.restartable import Restartable
from launch.cluster.training import training
from launch.run.arguments import TrainOptions

FAILURE = Failure(
    1, 2, 70, "ended with 70", False, {}, 0, 9, 1.0, 0.0, ["its last words"], None, []
)


def restartable(*words: str) -> Restartable:
    options: TrainOptions = training(["train", "tiny", *words], []).options
    return Restartable(["tiny", *words], options, LocalPlaces(LocalOptions(processes=2)))


def test_the_page_is_shown_though_it_cannot_be_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "failures").touch()
    restartable("--run-dir", str(tmp_path)).give_up([FAILURE], "no progress")
    shown = capfd.readouterr().out
    assert "Given up: no progress." in shown and "its last words" in shown
    assert "this page" not in shown


def test_a_run_that_was_set_aside_with_none_yet_in_its_place_starts_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("old")
    job = restartable("--run-dir", str(run))
    run.rename(tmp_path / "run.old-1")
    assert not job._is_open()
    run.mkdir()
    (run / "config.yaml").write_text("new")
    assert job._is_open()
