"""A run that is killed goes on exactly where it was: real processes, real checkpoints."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.command import SMALL, meshloom, records

pytestmark = pytest.mark.usefixtures("optimized")


def losses(run: Path) -> dict[int, float]:
    return {r["step"]: r["loss"] for r in records(run)}


def resumed_at(output: str) -> int:
    """The step a resumed run says it goes on from, after 8 rows each."""
    match = re.search(r"resuming from step (\d+), after ([\d,]+) rows", output)
    assert match, output
    assert int(match[2].replace(",", "")) == 8 * int(match[1])
    return int(match[1])


def copied(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to / "run"))


# The files are compared as they are; no mesh is meant.
@pytest.mark.filterwarnings("ignore:Sharding info not provided")
def test_killed_and_restarted_is_bit_equal_to_undisturbed(
    finished: Path, killed: Path, tmp_path: Path
) -> None:
    run = copied(killed, tmp_path)
    step = resumed_at(meshloom("train", "--run-dir", str(run), "--resume").stdout)
    assert step in (10, 20, 30)
    assert losses(run) == losses(finished)
    with ocp.PyTreeCheckpointer() as reader:
        ours, theirs = (reader.restore(r / "checkpoints" / "40" / "state") for r in (run, finished))
    leaves, others = (dict(_flat(tree)) for tree in (ours, theirs))
    assert leaves.keys() == others.keys() and len(leaves) > 20
    for name, leaf in leaves.items():
        np.testing.assert_array_equal(leaf, others[name], err_msg=name)


def _flat(tree, prefix=""):
    for name, node in tree.items():
        if isinstance(node, dict):
            yield from _flat(node, f"{prefix}{name}/")
        else:
            yield prefix + name, np.asarray(node)


def test_two_processes_go_on_with_the_rows_of_a_single_process(
    finished: Path, killed: Path, tmp_path: Path
) -> None:
    """Rows decide the losses, so equal losses are equal rows; their order by number is in
    test_train_feed."""
    run = copied(killed, tmp_path)
    local = ["launch", "local", "--processes", "2", "--devices-per-process", "2"]
    meshloom(*local, "train", "--run-dir", str(run), "--resume", "--train.eval-batches", "0")
    actual, expected = losses(run), losses(finished)
    assert actual.keys() == expected.keys()
    np.testing.assert_allclose(
        [actual[n] for n in range(1, 41)], [expected[n] for n in range(1, 41)], rtol=2e-6
    )


def test_another_batch_size_goes_on_with_the_next_row(killed: Path, tmp_path: Path) -> None:
    run = copied(killed, tmp_path)
    out = meshloom("train", "--run-dir", str(run), "--resume", "--train.batch-size", "16").stdout
    step = resumed_at(out)
    assert f"--train.steps 40 ends at step {step + -(-(320 - 8 * step) // 16)}" in out
    after = [r for r in records(run) if r["step"] > step]
    assert [r["examples_seen"] for r in after] == list(range(8 * step + 16, 321, 16))
    assert [r["step"] for r in after] == list(range(step + 1, step + 1 + len(after)))
    again = meshloom("train", "--run-dir", str(run), "--resume", "--train.batch-size", "16").stdout
    assert "nothing is left to train" in again and records(run)[-len(after) :] == after


def test_other_data_and_another_model_are_refused_and_nothing_is_lost(
    killed: Path, tmp_path: Path
) -> None:
    run = copied(killed, tmp_path)
    before = contents(run)
    resume = ["train", "--run-dir", str(run), "--resume"]
    error = meshloom(*resume, "--data.seed", "1", expect=1).stderr
    assert "data.seed: was 0, now 1" in error
    error = meshloom(*resume, "--model.mlp-dim", "96", expect=1).stderr
    assert "model.mlp_dim: was 64, now 96" in error
    error = meshloom("train", "tiny", "--run-dir", str(run), expect=1).stderr
    assert "must not hold a run already" in error
    assert contents(run) == before


def test_changed_text_is_refused_by_its_digest(tmp_path: Path) -> None:
    text = tmp_path / "corpus.jsonl"
    documents = [
        {"text": f"Night {n} was dark and stormy, and the sea was high."} for n in range(300)
    ]
    text.write_text("".join(json.dumps(record) + "\n" for record in documents))
    run = str(tmp_path / "run")
    words = ["--data.sources", f"jsonl:{text}", "--data.held-out", "0.2"]
    meshloom("train", "tiny", *SMALL, *words, "--train.steps", "2", "--run-dir", run)
    text.write_text(text.read_text().replace("stormy", "silent"))
    before = contents(Path(run))
    error = meshloom("train", "--run-dir", run, "--resume", "--train.steps", "4", expect=1).stderr
    assert "data digest=" in error and "must be" in error
    assert contents(Path(run)) == before
    assert "data digest=" in meshloom("evaluate", run, expect=1).stderr


def test_an_edited_config_is_compared_with_the_checkpoint(killed: Path, tmp_path: Path) -> None:
    run = copied(killed, tmp_path)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("beta1: 0.9", "beta1: 0.5"))
    error = meshloom("train", "--run-dir", str(run), "--resume", expect=1).stderr
    assert "train.optimizer.beta1: was 0.9, now 0.5" in error


def test_fewer_steps_than_done_and_a_profile_of_none_are_refused(
    finished: Path, tmp_path: Path
) -> None:
    run = copied(finished, tmp_path)
    resume = ["train", "--run-dir", str(run), "--resume"]
    error = meshloom(*resume, "--train.steps", "20", expect=1).stderr
    assert "train.steps=20 must be at least 40" in error
    error = meshloom(*resume, "--train.steps", "44", "--profile", "50", "52", expect=1).stderr
    assert "profile=50 52 must start between step 40 and 43" in error


def contents(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_damaged_checkpoint_is_set_aside_and_its_predecessor_taken(
    finished: Path, tmp_path: Path
) -> None:
    run = copied(finished, tmp_path)
    arrays = max(run.glob("checkpoints/40/state/**/d/*"), key=lambda path: path.stat().st_size)
    data = bytearray(arrays.read_bytes())
    data[len(data) // 2] ^= 1
    arrays.write_bytes(data)
    before = contents(run)
    error = meshloom("evaluate", str(run), expect=1).stderr
    assert f"{arrays.name}: checksum differs; try --step 30" in error
    resume = ["train", "--run-dir", str(run), "--resume"]
    assert "data.seed: was 0" in meshloom(*resume, "--data.seed", "1", expect=1).stderr
    assert contents(run) == before

    (run / "environment.json").write_text("[{")
    out = meshloom(*resume).stdout
    assert len(json.loads((run / "environment.json").read_text())) == 1
    assert resumed_at(out) == 30
    name = arrays.relative_to(run / "checkpoints" / "40")
    assert f"step 40 is damaged ({name}: checksum differs) and set aside as 40.bad" in out
    assert losses(run) == losses(finished)
    reason = json.loads((run / "checkpoints" / "40.bad" / "REASON.json").read_text())
    assert [fault["what"] for fault in reason["faults"]] == ["checksum differs"]


def test_checkpoints_that_are_gone_are_an_error_and_not_step_0(
    finished: Path, tmp_path: Path
) -> None:
    run = copied(finished, tmp_path)
    (run / "checkpoints").rename(tmp_path / "elsewhere")
    before = contents(run)
    error = meshloom("train", "--run-dir", str(run), "--resume", expect=1).stderr
    assert f"checkpoints={run / 'checkpoints'} must exist" in error
    assert contents(run) == before


def test_no_good_checkpoint_is_an_error_and_not_step_0(finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path)
    (run / "checkpoints" / "40").rename(run / "checkpoints" / "40.bad")
    (run / "checkpoints" / "30" / "meta.json").unlink()
    before = contents(run)
    error = meshloom("train", "--run-dir", str(run), "--resume", expect=1).stderr
    assert "step 30: meta.json: missing; step 40 was set aside; try --overwrite" in error
    assert contents(run) == before
