"""`meshloom checkpoint`: what is there, whether it is good, what differs, what may go."""

import json
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import jax.numpy as jnp
import pytest

from launch.cli import main
from launch.config import save
from launch.presets.preset import preset
from tests.command import ROOT
from train.checkpoint.checkpointer import Checkpointer
from train.checkpoint.manifest import Fault
from train.config import CheckpointConfig


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with steps 2, 4 and 6, of which 2 is damaged, one set aside and one unfinished."""
    run = tmp_path / "run"
    run.mkdir()
    save(preset("tiny"), run / "config.yaml")
    config = CheckpointConfig(every_steps=1, keep_latest=9)
    with closing(Checkpointer(run / "checkpoints", config)) as checkpointer:
        for step in (2, 4, 5, 6):
            state = {
                "model": {"w": jnp.full((8, 4), step, jnp.bfloat16), "same": jnp.ones((3,))},
                "step": jnp.int32(step),
            }
            meta = {"examples_seen": 1000 * step, "data_digest": "abc", "long": "x" * 400}
            checkpointer.save(step, state, meta, metrics={"eval_loss": 1 / step})
        checkpointer.wait()
        checkpointer.set_aside(5, [Fault("state/d/0123", "checksum differs")])
    meta = run / "checkpoints" / "2" / "meta.json"
    meta.write_text(meta.read_text().replace("2000", "2001"))
    (run / "checkpoints" / "4" / "state" / "commit_success.txt").unlink()
    (run / "checkpoints" / "8.saving").mkdir()
    return run


def output(capsys: pytest.CaptureFixture[str], *words: object, expect: int = 0) -> str:
    """What `meshloom checkpoint WORDS` prints; an error if it must fail."""
    assert main(["checkpoint", *map(str, words)]) == expect
    shown = capsys.readouterr()
    text = shown.out or shown.err
    assert "--json" in words or max(map(len, shown.out.splitlines()), default=0) <= 80
    return text


def test_list_prints_sizes_losses_and_states(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "list", run).splitlines()
    states = [line.split()[-1] for line in lines if line.split()[0].isdecimal()]
    assert states == ["good", "bad", "aside", "good", "unfinished"]
    assert "2,001     0.5000  good" in lines[1]
    assert lines[3].strip() == "state/commit_success.txt: missing"
    assert lines[5].strip() == "state/d/0123: checksum differs"
    rows = json.loads(output(capsys, "list", run, "--json"))
    assert [row["name"] for row in rows] == ["2", "4", "5.bad", "6", "8.saving"]
    assert [row["examples_seen"] for row in rows] == [2001, 4000, 5000, 6000, None]


def test_verify_names_the_bad_files_and_fails(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = output(capsys, "verify", run, expect=1)
    assert "step 2 is bad:\n  meta.json: checksum differs\n" in text
    assert "step 4 is bad:\n  state/commit_success.txt: missing\n" in text
    assert "step 6 is good: " in text
    assert "step 2 is good" in output(capsys, "verify", run, "--step", 2, "--sizes-only")
    assert "step 6 is good" in output(capsys, "verify", run, "--step", 6)
    absent = output(capsys, "verify", run, "--step", 5, expect=1)
    assert "must hold step 5, because" in absent and "; try --step 2 or 4 or 6\n" in absent
    rows = json.loads(output(capsys, "verify", run, "--json", expect=1))
    assert [row["good"] for row in rows] == [False, False, True]


def test_show_lists_meta_and_arrays(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "show", run)
    assert re.match(r"step 6: \d+ files, \S+ k?B on disk\n", text)
    assert text.endswith("3 arrays, 80 B in memory\n")
    assert "examples_seen: 6000\n" in text and "long: long, see --json\n" in text
    (row,) = (line for line in text.splitlines() if line.startswith("model/w"))
    assert row.split() == ["model/w", "8,4", "bfloat16", "64", "B"]
    shown = json.loads(output(capsys, "show", run, "--step", 6, "--json"))
    assert shown["arrays"][-1] == {"name": "step", "dtype": "int32", "shape": [], "bytes": 4}
    assert shown["meta"]["examples_seen"] == 6000


def test_diff_measures_what_differs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "checkpoints" / "5.bad").rename(run / "checkpoints" / "5")
    (run / "checkpoints" / "5" / "REASON.json").unlink()
    rows = {row["name"]: row for row in json.loads(output(capsys, "diff", run, 5, 6, "--json"))}
    assert rows["model/same"]["what"] == "equal"
    assert rows["model/w"] | {"max_abs": 1.0, "relative": 0.2} == rows["model/w"]
    assert "1 of 3 arrays are equal" in output(capsys, "diff", run, 5, 6)
    assert "3 of 3 arrays are equal" in output(capsys, "diff", run, 6, 6, "--other", run)
    assert "commit_success.txt: missing" in output(capsys, "diff", run, 4, 6, expect=1)
    absent = output(capsys, "diff", run, 5, 7, expect=1)
    assert "must hold step 7, because its files are to be read; try 2 or 4 or 5 or 6\n" in absent

    (other := tmp_path / "other").mkdir()
    save(preset("tiny"), other / "config.yaml")
    config = CheckpointConfig(every_steps=1)
    with closing(Checkpointer(other / "checkpoints", config)) as checkpointer:
        state = {"model": {"w": jnp.ones((8, 5)), "new": jnp.ones((3,))}, "step": jnp.int32(6)}
        checkpointer.save(6, state, {"empty": {}})
    lines = output(capsys, "diff", run, 6, 6, "--other", other).splitlines()
    assert "\nempty: none\n" in output(capsys, "show", other)
    differences = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert differences["model/same"] == "only in the first"
    assert differences["model/new"] == "only in the second"
    assert differences["model/w"] == "bfloat16[8,4] and float32[8,5]"


def test_prune_deletes_only_good_checkpoints_and_only_with_yes(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in (run / "checkpoints").iterdir())
    text = output(capsys, "prune", run, "--keep-latest", 1)
    assert text.startswith("would delete step 2, ") and "kept: step 6\n" in text
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == before
    kept = output(capsys, "prune", run, "--keep-latest", 1, "--keep-every", 2, "--yes")
    assert kept == "kept: step 2, 6\n"
    assert "deleting step 2, " in output(capsys, "prune", run, "--keep-latest", 1, "--yes")
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == before[1:]
    assert "keep_latest=0 must" in output(capsys, "prune", run, "--keep-latest", 0, expect=2)


def test_prune_deletes_nothing_if_what_would_stay_is_damaged(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = run / "checkpoints" / "6" / "meta.json"
    meta.write_text(meta.read_text().replace("6000", "6001"))
    for words in ((), ("--yes",)):
        refused = output(capsys, "prune", run, "--keep-latest", 1, *words, expect=1)
        assert f"meta.json: checksum differs; try moving it out of {run / 'checkpoints'}" in refused
    assert (run / "checkpoints" / "2").is_dir()


def test_a_run_without_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "must be a run directory" in output(capsys, "list", tmp_path, expect=1)
    save(preset("tiny"), tmp_path / "config.yaml")
    assert output(capsys, "list", tmp_path) == "there are no checkpoints yet\n"
    assert "must hold a checkpoint" in output(capsys, "verify", tmp_path, expect=1)


def test_what_reads_no_arrays_imports_no_jax(run: Path) -> None:
    program = f"""
import sys
from launch.cli import main
for words in (["list"], ["verify"], ["show"], ["prune", "--keep-latest", "1"]):
    main(["checkpoint", words[0], {str(run)!r}, *words[1:]])
sys.exit(any(name in sys.modules for name in ("jax", "orbax", "tensorstore", "numpy")))
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.PIPE)
