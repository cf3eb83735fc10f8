"""What a plan of a study says of its data."""

import json
from pathlib import Path

import pytest

from launch.ladder.cells import cells_of
from launch.ladder.plan import print_amount
from launch.ladder.study import from_dict


def test_rows_of_examples_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [{"source": f"number {n}", "target": f"{n} it is"} for n in range(200)]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
    base = {"preset": "tiny-t5", "data": {"sources": [f"jsonl:{tmp_path}/pairs.jsonl"]}}
    study = {
        "base": base,
        "family": {"head_dim": 16, "width_per_layer": 32, "mlp_ratio": 2.0},
        "learning_rate": {"factor": 0.003},
        "batch_tokens": {"factor": 2048.0},
        "grid": [{"flops": 1e12, "widths": [32]}],
    }
    cells = cells_of(from_dict(study, "study.yaml"))
    assert cells[0].config.model.depth == 2
    print_amount(cells)
    shown = " ".join(capsys.readouterr().out.split())
    assert "rows of examples; " in shown and "rows to train on are read" in shown
