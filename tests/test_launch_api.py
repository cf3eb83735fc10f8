"""MeshLoom from Python, with a family, an objective, data and an optimizer of the user's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from command import ROOT, records

TESTS = ROOT / "tests"
PARTS = ("outside_pictures", "PerceptronConfig", "PictureData", "outside_optimizer", "NumbersData")


def program(run: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(TESTS / "outside_run.py"), str(run), how],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "4"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> dict[str, float]:
    """What the program printed last."""
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, out + errors
    return json.loads(out.splitlines()[-1])


def test_parts_of_the_users_own_train_are_killed_and_go_on_bit_equal(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    measured = ended(program(straight, "start"))
    assert measured["step"] == 40 and measured["finished"]
    assert measured["eval_accuracy"] > 0.8 and measured["eval_targets"] == 64
    with program(killed, "start") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("12/40"):
                process.kill()
    assert process.returncode == -9
    assert ended(program(killed, "resume")) == measured
    losses = [[(r["step"], r["loss"]) for r in records(run)] for run in (straight, killed)]
    assert losses[0] == losses[1] and len(losses[0]) == 40


def test_no_line_of_the_packages_knows_them() -> None:
    for room in ("model", "data", "train", "launch"):
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not [name for name in PARTS if name in text], path


def test_they_are_short() -> None:
    lengths = {"outside_pictures": 120, "outside_optimizer": 30, "outside_source": 40}
    for name, most in lengths.items():
        assert len((TESTS / f"{name}.py").read_text().splitlines()) <= most, name
