"""The proof a user makes on his own machines: real runs, killed; and it must be able to fail."""

import json
import math
from pathlib import Path

import pytest

from launch.commands.verify_resume import Kill, losses_of, verdict
from launch.run.directory import RunDirectory
from tests.command import SMALL, meshloom

pytestmark = pytest.mark.usefixtures("optimized")

TRAIN = [*SMALL, "--train.eval-batches", "0", "--train.steps", "30"]


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a proof with two kills, and what it said."""
    folder = tmp_path_factory.mktemp("proof") / "both"
    own = ["verify-resume", "--kills", "2", "--seed", "3", "--folder", str(folder)]
    return folder, meshloom(*own, "tiny", *TRAIN, "--train.checkpoint.every-steps", "5").stdout


def test_a_killed_run_is_bit_equal(proved: tuple[Path, str]) -> None:
    _, said = proved
    assert "kill 2 of 2" in said and "losses:  30 of 30 bit-equal" in said
    assert said.endswith("resume is exact\n")


def test_another_loss_is_noticed(
    proved: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    straight, killed = (RunDirectory(proved[0] / name) for name in ("straight", "killed"))
    expected = losses_of(straight)
    expected[17] = math.nextafter(expected[17], 0)
    assert verdict(straight, killed, expected, [Kill(recorded=12, saved=10)]) == 1
    said = capsys.readouterr().out
    assert "losses:  29 of 30 bit-equal" in said and "first different loss: step 17" in said
    assert "repeated: at most 2 steps" in said and "resume is NOT exact" in said


@pytest.mark.long
def test_kills_before_any_checkpoint_prove_nothing(tmp_path: Path) -> None:
    own = ["verify-resume", "--kills", "1", "--folder", str(tmp_path / "both")]
    words = [*own, "tiny", *TRAIN, "--train.checkpoint.every-steps", "None"]
    error = meshloom(*words, expect=1).stderr
    assert "kills=1 must come after a checkpoint and before the last at least once" in error
    assert json.loads((tmp_path / "both" / "killed" / "metrics.jsonl").read_text().splitlines()[-1])


def test_a_folder_in_use_and_a_run_that_fails_are_refused(
    proved: tuple[Path, str], tmp_path: Path
) -> None:
    error = meshloom("verify-resume", "--folder", str(proved[0]), "tiny", expect=1).stderr
    assert "must hold no runs yet" in error
    words = ["--folder", str(tmp_path / "new"), "tiny", "--data.sources", "text:nowhere/*.txt"]
    error = meshloom("verify-resume", *words, expect=1).stderr
    assert "must finish" in error and "straight.txt" in error
