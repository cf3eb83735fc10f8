"""Saving and restoring: same bits on any mesh, what is kept, what is refused."""

import dataclasses
import json
import shutil
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from tests.train.checkpoint.small_state import State, init, mesh
from train.checkpoint import arrays
from train.checkpoint.checkpointer import Checkpointer
from train.checkpoint.manifest import MANIFEST, Fault
from train.config import CheckpointConfig

EACH_STEP = CheckpointConfig(every_steps=1, keep_latest=3)


@pytest.fixture(scope="module")
def state() -> State:
    with jax.set_mesh(mesh(4, 2)):
        return jax.jit(init)()


def saved(path: Path, state: State, *steps: int) -> Checkpointer:
    checkpointer = Checkpointer(path, EACH_STEP)
    for step in steps:
        assert checkpointer.save(step, state, {"examples_seen": 10 * step})
    checkpointer.close()
    return Checkpointer(path, EACH_STEP)


def test_small_arrays_are_not_cut_among_the_replicas(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each cut would be a program of its own, compiled for each device at the first save."""
    with jax.set_mesh(mesh(8, 1)):
        state = jax.jit(init, static_argnums=0)(16)
    with jax.log_compiles():
        checkpointer = saved(tmp_path, state, 1)
    assert checkpointer.faults(1) == []
    assert "jit(slice)" not in caplog.text


@pytest.mark.parametrize("shape", [(4, 2), (2, 2), (1, 1), (8, 1)])
def test_restores_the_same_bits_onto_any_mesh(
    tmp_path: Path, state: State, shape: tuple[int, int]
) -> None:
    checkpointer = saved(tmp_path, state, 1)
    target = mesh(*shape)
    with jax.set_mesh(target):
        restored = checkpointer.restore(jax.eval_shape(init))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(restored), strict=True):
        assert old.dtype == new.dtype
        assert np.array_equal(jax.device_get(old), jax.device_get(new))
        assert new.sharding.mesh == target
    assert restored.model.up.sharding.spec == PartitionSpec("fsdp", "tensor")


def test_state_and_meta_are_committed_together(tmp_path: Path, state: State) -> None:
    meta = {"examples_seen": 64, "skipped": [[0, 8]], "config": {"train": {"steps": 5}}}
    with closing(Checkpointer(tmp_path, EACH_STEP)) as checkpointer:
        checkpointer.save(1, state, meta, metrics={"eval_loss": 0.5})
    for array_file in (tmp_path / "1" / "state").glob("**/d/*"):
        array_file.unlink()
    assert Checkpointer(tmp_path, EACH_STEP).read_meta() == {**meta, "metrics": {"eval_loss": 0.5}}


def test_saves_when_due_and_each_step_once(tmp_path: Path, state: State) -> None:
    with closing(
        Checkpointer(tmp_path, CheckpointConfig(every_steps=3, keep_latest=9))
    ) as checkpointer:
        asked = [step for step in range(1, 4) if checkpointer.is_due(step)]
        started = [step for step in range(3, 8) if checkpointer.save(step, state, {})]
        assert (asked, started) == ([3], [3, 6])
        assert not checkpointer.save(6, state, {}, force=True)
        assert checkpointer.save(7, state, {}, force=True)
    again = Checkpointer(tmp_path, CheckpointConfig(every_steps=3))
    assert again.steps() == [3, 6, 7]
    assert not again.save(7, state, {}, force=True)


def test_a_field_without_leaves_is_not_read(tmp_path: Path, state: State) -> None:
    checkpointer = saved(tmp_path, state, 1)
    with jax.set_mesh(mesh(1, 1)):
        target = dataclasses.replace(jax.eval_shape(init), optimizer=None)
        restored = checkpointer.restore(target)
    assert restored.optimizer is None
    assert np.array_equal(restored.model.up[...], state.model.up[...])


def test_keeps_latest_multiples_and_best_also_after_a_restart(tmp_path: Path, state: State) -> None:
    config = CheckpointConfig(every_steps=1, keep_latest=1, keep_every=4, keep_best=1)
    losses = {1: 5.0, 2: 1.0, 3: 4.0, 4: 3.0, 5: 3.0, 6: 2.0}
    for steps in ((1, 2, 3), (4, 5, 6)):
        with closing(Checkpointer(tmp_path, config)) as checkpointer:
            for step in steps:
                checkpointer.save(step, state, {}, metrics={"eval_loss": losses[step]})
    assert checkpointer.steps() == [2, 4, 6]


def test_a_step_without_its_manifest_does_not_exist(tmp_path: Path, state: State) -> None:
    checkpointer = saved(tmp_path, state, 1, 2, 3)
    for step in ("1", "3"):
        (tmp_path / step / MANIFEST).unlink()
    assert checkpointer.steps() == [2]
    assert checkpointer.latest_step() == 2
    with pytest.raises(ValueError, match=r"must hold a complete checkpoint of step 3.*try step 2"):
        checkpointer.read_meta(3)


def test_leftovers_go_at_the_next_save_and_not_before(tmp_path: Path, state: State) -> None:
    saved(tmp_path, state, 1, 2, 3)
    (tmp_path / "4.saving" / "state.orbax-checkpoint-tmp").mkdir(parents=True)
    (tmp_path / "1").rename(tmp_path / "1.deleting")
    (tmp_path / "3" / MANIFEST).unlink()
    before = sorted(path.name for path in tmp_path.iterdir())
    reader = Checkpointer(tmp_path, EACH_STEP)
    assert reader.latest_step() == 2
    assert reader.read_meta()["examples_seen"] == 20
    assert reader.faults(2) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == before

    config = CheckpointConfig(every_steps=1, keep_latest=2)
    with closing(Checkpointer(tmp_path, config)) as checkpointer:
        checkpointer.save(3, state, {"examples_seen": 31})
    assert checkpointer.steps() == [2, 3]
    assert checkpointer.read_meta()["examples_seen"] == 31
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3", "3.bad"]


def test_no_checkpoint_is_said_so(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path / "none", EACH_STEP)
    assert checkpointer.latest_step() is None
    with pytest.raises(ValueError, match="none must hold a checkpoint, because"):
        checkpointer.restore({"w": jax.ShapeDtypeStruct((), np.float32)})
    assert not (tmp_path / "none").exists()


def test_another_models_checkpoint_is_refused_by_names_and_shapes(
    tmp_path: Path, state: State
) -> None:
    checkpointer = saved(tmp_path, state, 1)
    with jax.set_mesh(mesh(2, 2)):
        wider = jax.eval_shape(lambda: init(width=6))
        with pytest.raises(ValueError) as refusal:
            checkpointer.restore(wider)
        averaged = dataclasses.replace(jax.eval_shape(init), average=wider.model)
        with pytest.raises(ValueError, match="it lacks average/up"):
            checkpointer.restore(averaged)
    assert "model/up is float32[8, 4] there and float32[8, 6] here" in str(refusal.value)
    assert str(refusal.value).count(" there and ") == 5
    assert "and 1 more" in str(refusal.value)


def test_unreadable_checkpoint_names_itself_and_its_predecessor(
    tmp_path: Path, state: State
) -> None:
    checkpointer = saved(tmp_path, state, 1, 2)
    (tmp_path / "2" / "state" / "_METADATA").write_bytes(b"")
    with jax.set_mesh(mesh(1, 1)):
        with pytest.raises(ValueError, match=r"/2 must be readable.*; try step 1"):
            checkpointer.restore(jax.eval_shape(init))
        assert checkpointer.restore(jax.eval_shape(init), step=1).step == 7


def test_unreadable_meta(tmp_path: Path, state: State) -> None:
    checkpointer = saved(tmp_path, state, 1)
    (tmp_path / "1" / "meta.json").write_text('{"examples_se')
    with pytest.raises(ValueError, match="/1 must be readable"):
        checkpointer.read_meta()


def test_relative_and_unwritable_directories_are_refused(tmp_path: Path, state: State) -> None:
    with pytest.raises(ValueError, match="checkpoints=here must be absolute"):
        Checkpointer("here", EACH_STEP)
    (tmp_path / "file").write_text("not a directory")
    checkpointer = Checkpointer(tmp_path / "file" / "checkpoints", EACH_STEP)
    with pytest.raises(ValueError, match="must be writable, because saving step 1 failed"):
        checkpointer.save(1, state, {})


def test_meta_is_plain_json_on_disk(tmp_path: Path, state: State) -> None:
    saved(tmp_path, state, 1)
    stored = json.loads((tmp_path / "1" / "meta.json").read_text())
    assert stored == {"examples_seen": 10, "metrics": {}}


def test_a_missing_folder_is_reported(tmp_path: Path, state: State) -> None:
    checkpointer = Checkpointer(tmp_path / "run" / "checkpoints", EACH_STEP)
    checkpointer.save(1, state, {})
    checkpointer.wait()
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(ValueError, match=r"saving step 2 failed: No such file.*no good one"):
        checkpointer.save(2, state, {})
    checkpointer.close()
    assert not (tmp_path / "run").exists()


def test_how_long_a_save_runs_is_known(tmp_path: Path, state: State) -> None:
    with closing(Checkpointer(tmp_path, EACH_STEP)) as checkpointer:
        assert checkpointer.saving_since is None
        resumed = threading.Event()
        checkpointer._waiter.submit(resumed.wait)
        before = time.monotonic()
        checkpointer.save(1, state, {})
        assert before <= (checkpointer.saving_since or 0) <= time.monotonic()
        resumed.set()
        checkpointer.wait()
        assert checkpointer.saving_since is None


def test_set_aside_says_why_and_the_step_can_be_saved_again(tmp_path: Path, state: State) -> None:
    with closing(Checkpointer(tmp_path, EACH_STEP)) as checkpointer:
        for name in ("2.bad", "2.bad-2"):
            checkpointer.save(2, state, {})
            checkpointer.wait()
            aside = checkpointer.set_aside(2, [Fault("state/x", "checksum differs")])
            assert aside == tmp_path / name
            reason = json.loads((aside / "REASON.json").read_text())
            assert reason["faults"] == [{"file": "state/x", "what": "checksum differs"}]
        assert checkpointer.steps() == []


def test_a_damaged_checkpoint_does_not_hinder_the_next(tmp_path: Path, state: State) -> None:
    saved(tmp_path, state, 1, 2)
    (tmp_path / "1" / "meta.json").write_text("[")
    with closing(Checkpointer(tmp_path, EACH_STEP)) as checkpointer:
        assert checkpointer.save(3, state, {})
    assert checkpointer.steps() == [1, 2, 3]
    assert [fault.file for fault in checkpointer.faults(1)] == ["meta.json"]


def test_a_device_that_fails_is_reported_as_that(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **settings: Any) -> None:
        raise jax.errors.JaxRuntimeError("INTERNAL: a peer has gone")

    with closing(Checkpointer(tmp_path, EACH_STEP)) as checkpointer:
        checkpointer.save(1, state, {})
        checkpointer.wait()
        monkeypatch.setattr(arrays, "restore", fail)
        with pytest.raises(jax.errors.JaxRuntimeError, match="a peer has gone"):
            checkpointer.restore(jax.eval_shape(lambda: state))
        monkeypatch.setattr(arrays, "save", fail)
        with pytest.raises(jax.errors.JaxRuntimeError, match="a peer has gone"):
            checkpointer.save(2, state, {})


def test_a_folder_moved_away_as_a_save_begins_is_missed(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, run = arrays.save, tmp_path / "checkpoints"

    def moved(*arguments: Any) -> None:
        run.rename(tmp_path / "away")
        save(*arguments)

    with closing(Checkpointer(run, EACH_STEP)) as checkpointer:
        checkpointer.save(1, state, {})
        checkpointer.wait()
        monkeypatch.setattr(arrays, "save", moved)
        checkpointer.save(2, state, {})
        with pytest.raises(ValueError, match=r"must be writable.*moved away meanwhile"):
            checkpointer.wait()
    assert (tmp_path / "away" / "1" / MANIFEST).is_file()
