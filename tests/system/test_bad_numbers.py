"""Spikes and NaN in real runs: text of four letters, and one document of rare characters."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from data.config import DataConfig
from tests.command import ROOT, SMALL, arguments, meshloom, records
from train.checkpoint.checkpointer import Checkpointer
from train.config import CheckpointConfig

B = 8
STEPS = (
    "--train.steps 50 --train.checkpoint.every-steps 10 --train.eval-batches 0 "
    "--train.optimizer.warmup-steps 5 --train.optimizer.learning-rate 1e-2 "
    "--train.bad-numbers.window 16 --train.bad-numbers.threshold 12 "
    "--train.bad-numbers.rollback-batches 2"
).split()
SPIKES = "--train.bad-numbers.spikes"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its letters are soon as likely to the model as they are, and the rare row never is."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcd"), 120)) for _ in range(400)]
    texts[137] = "".join(chr(number) for number in rng.integers(0x2500, 0x25FF, 20))
    path = tmp_path_factory.mktemp("text") / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return f"jsonl:{path}"


@pytest.fixture(scope="module")
def words(text: str) -> list[str]:
    """A command line under which two rare rows come soon after step 30."""
    data = DataConfig(sources=(text,), sequence_length=32, held_out=0, seed=9)
    rows = data.open_rows("train", report=lambda line: None)
    batch = rows.batch(np.arange(50 * B))
    rare = np.flatnonzero((batch.tokens >= 128).sum(axis=1) > 3)
    assert rare.tolist() == [293, 335]
    flags = ["--data.sources", text, "--data.held-out", "0", "--data.seed", "9"]
    return ["tiny", *SMALL, *STEPS, *flags]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> tuple[Path, str]:
    """A run that went back twice, and what it said."""
    run = tmp_path_factory.mktemp("straight") / "run"
    out = meshloom("train", *words, SPIKES, "rollback", "--run-dir", str(run)).stdout
    return run, out


def checkpoint(run: Path) -> Checkpointer:
    return Checkpointer(run / "checkpoints", CheckpointConfig())


def arrays(run: Path) -> list[np.ndarray]:
    """The state of the last step, in one order."""
    with ocp.PyTreeCheckpointer() as reader:
        state = reader.restore(run / "checkpoints" / "50" / "state")
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def numbers_of(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what a clock says."""
    names = "step loss grad_norm learning_rate examples_seen dropped_updates skipped_rows"
    return {name: record[name] for name in names.split()}


def test_rollback_leaves_out_the_rows_and_goes_on_from_the_checkpoint_before(
    straight: tuple[Path, str],
) -> None:
    run, out = straight
    said = [line for line in out.splitlines() if "are a spike" in line]
    assert len(said) == 2
    # Row 335 is at position 311 when rows 288 to 311 are gone.
    assert "of step 37 (data rows 288 to 295, from" in said[0]
    assert said[0].endswith("back to step 30, leaving out 24 rows in all")
    assert "of step 39 (data rows 328 to 335, from" in said[1]
    assert said[1].endswith("back to step 30, leaving out 48 rows in all")
    meta = checkpoint(run).read_meta()
    assert (meta["skipped"], meta["rollbacks"]) == ([[288, 312], [328, 352]], 2)
    actual = records(run)
    assert [r["step"] for r in actual] == list(range(1, 51))
    assert [r["examples_seen"] for r in actual] == [B * step for step in range(1, 51)]
    assert [r["skipped_rows"] for r in actual] == [0] * 30 + [48] * 20
    assert max(r["loss"] for r in actual[30:]) < 1.6


# The files are compared as they are; no mesh is meant.
@pytest.mark.filterwarnings("ignore:Sharding info not provided")
def test_killed_after_a_rollback_it_does_the_same_again_bit_for_bit(
    straight: tuple[Path, str], words: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = arguments("train", *words, SPIKES, "rollback", "--run-dir", str(run))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "leaving out 48 rows" in line:
                process.kill()
                break
    assert process.returncode == -9 and checkpoint(run).latest_step() == 30
    out = meshloom("train", "--run-dir", str(run), "--resume").stdout
    assert out.count("are a spike") == 2
    assert [numbers_of(r) for r in records(run)] == [numbers_of(r) for r in records(straight[0])]
    ours, theirs = checkpoint(run).read_meta(), checkpoint(straight[0]).read_meta()
    names = ("examples_seen", "skipped", "rollbacks", "bad_numbers")
    assert [ours[name] for name in names] == [theirs[name] for name in names]
    for ours, theirs in zip(arrays(run), arrays(straight[0]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_stop_ends_the_run_and_skip_goes_on_with_it(words: list[str], tmp_path: Path) -> None:
    run = ["--run-dir", str(tmp_path / "run")]
    error = meshloom("train", *words, SPIKES, "stop", *run, expect=1).stderr
    assert "of step 37 (data rows 288 to 295, from " in error
    assert "must have z-scores of at most 12" in error and f"{SPIKES} skip" in error
    out = meshloom("train", "--resume", *run, SPIKES, "skip").stdout
    assert "step 37 (data rows 288 to 295" in out and "was dropped, 1 so far" in out
    assert "step 42 (data rows 328 to 335" in out and "was dropped, 2 so far" in out
    actual = records(tmp_path / "run")
    dropped = [0] * 36 + [1] * 5 + [2] * 9
    assert [r["dropped_updates"] for r in actual] == dropped
    assert actual[36]["loss"] > 1.8 and actual[41]["loss"] > 1.8


def test_two_processes_go_back_to_the_beginning_when_there_is_no_checkpoint(
    words: list[str], tmp_path: Path
) -> None:
    """Row 10 of this data is NaN; it is the product's own program that reads and trains on it."""
    program = (
        "import sys\n"
        "import numpy as np\n"
        "from data.rows.tokens import TokenWindows as Rows\n"
        "from launch.cli import program\n"
        "read = Rows.batch\n"
        "def batch(rows, numbers):\n"
        "    examples = read(rows, numbers)\n"
        "    examples.weights[np.asarray(numbers) == 10] = np.nan\n"
        "    return examples\n"
        "Rows.batch = batch\n"
        "program(['train', *sys.argv[1:]])\n"
    )
    launcher = (
        "import sys; from launch.cluster.local import LocalOptions, run_local\n"
        "command = [sys.executable, '-c', *sys.argv[1:]]\n"
        "sys.exit(run_local(command, LocalOptions(processes=2, devices_per_process=1)))"
    )
    run = tmp_path / "run"
    flags = ["--train.steps", "4", "--train.bad-numbers.non-finite", "rollback"]
    flags += ["--mesh.replica", "2", "--mesh.fsdp", "1", "--train.corruption.replicas"]
    flags += ["--train.corruption.recompute", "--train.corruption.every-steps", "2"]
    result = subprocess.run(
        [sys.executable, "-c", launcher, program, *words, *flags, "--run-dir", str(run)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "loss=nan and gradient norm=nan of step 2 (data rows 8 to 15, from" in result.stdout
    assert "are not finite: back to step 0, leaving out 24 rows in all" in result.stdout
    assert [r["step"] for r in records(run)] == [1, 2, 3, 4]
    assert checkpoint(run).read_meta()["skipped"] == [[8, 32]]
