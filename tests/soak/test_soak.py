"""The campaign of faults in its short form: it counts, continues, and can find harm."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ROOT
from tests.soak import __main__ as soak
from tests.soak.faults import FAULTS
from tests.soak.run import Injection
from tests.soak.table import table


@pytest.mark.long
def test_a_damaged_checkpoint_is_tried_counted_and_not_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "tries.jsonl"
    command = [sys.executable, "-m", "tests.soak", "--only", "flipped", "--tries", "1"]
    done = subprocess.run(
        [*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| checkpoint file flipped by a bit | 1 | 1 |" in done.stdout
    assert soak.main(soak.Campaign(out=out, only="flipped", tries=1)) == 0
    assert len(out.read_text().splitlines()) == 1


def test_what_fails_is_kept_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def harm(folder: Path, chance: random.Random) -> dict[str, float | int | str]:
        (folder / "output.txt").write_text("what it said")
        return {"wrong": "" if chance.random() < 0.5 else "a loss differs", "lost": 3}

    monkeypatch.setitem(FAULTS, "coin", Injection(20, harm, "heads"))
    out = tmp_path / "tries.jsonl"
    failed = soak.main(soak.Campaign(out=out, only="coin"))
    tries = [json.loads(line) for line in out.read_text().splitlines()]
    wrong = [line for line in tries if line["wrong"]]
    assert failed == len(wrong) and 0 < failed < 20 == len(tries)
    assert all((Path(line["folder"]) / "output.txt").exists() for line in wrong)
    assert f"| coin | 20 | {20 - failed} | heads | 3 (3) steps lost |" in table(tries)
    assert "a loss differs" in capsys.readouterr().out
