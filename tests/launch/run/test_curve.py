"""The picture of a run's loss."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from launch.run.curve import EVALUATION, SMOOTH, draw
from train.report.writers import Record


def metrics(path: Path, records: list[Record]) -> Path:
    file = path / "metrics.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def training(step: int, loss: float | str) -> Record:
    return {"step": step, "loss": loss, "learning_rate": 1e-3, "tokens_seen": 512 * step}


def pixels(picture: Path, color: str) -> int:
    return int((np.abs(imread(picture)[..., :3] - to_rgb(color)).max(axis=-1) < 0.02).sum())


@pytest.mark.parametrize("count", [1, 7, 200])
def test_draws_the_loss_of_training_and_of_evaluation(tmp_path: Path, count: int) -> None:
    curve = [training(step, 5.0 / step) for step in range(1, count + 1)]
    picture = tmp_path / "loss.png"
    draw(metrics(tmp_path, curve), picture)
    assert pixels(picture, SMOOTH) > 50
    assert pixels(picture, EVALUATION) == 0
    evaluation: Record = {"step": count, "eval_loss": 2.0}
    draw(metrics(tmp_path, [*curve, evaluation]), picture)
    assert pixels(picture, EVALUATION) > 20
    assert [path.name for path in tmp_path.glob("loss*")] == ["loss.png"]


def test_a_loss_that_is_not_finite_is_a_gap(tmp_path: Path) -> None:
    curve = [training(step, 3.0) for step in range(1, 1000)]
    draw(metrics(tmp_path, curve), tmp_path / "whole.png")
    curve[500:510] = [training(step, "nan") for step in range(501, 511)]
    draw(metrics(tmp_path, curve), tmp_path / "gap.png")
    share = pixels(tmp_path / "gap.png", SMOOTH) / pixels(tmp_path / "whole.png", SMOOTH)
    assert 0.97 < share < 0.995


def test_without_records_there_is_no_picture(tmp_path: Path) -> None:
    for missing in (tmp_path / "none.jsonl", metrics(tmp_path, [{"step": 1, "eval_loss": 2.0}])):
        with pytest.raises(ValueError, match="must hold training records"):
            draw(missing, tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()
