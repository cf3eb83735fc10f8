"""A run lies where its checkpoints can be read again, or nothing is written at all."""

import os
import tempfile
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from launch.cluster.restartable import Restartable
from launch.cluster.slurm import launch_slurm
from launch.cluster.slurm_options import SlurmOptions
from launch.cluster.tpu_vm import TpuVmOptions, gcloud
from launch.cluster.training import training
from launch.commands.verify_resume import VerifyResumeOptions, verify_resume
from launch.ladder.directory import make_study
from launch.ladder.studies import load_study
from launch.presets.preset import preset
from launch.run.directory import open_run_directory
from launch.run.path import run_path
from launch.run.train import train
from train.checkpoint.checkpointer import Checkpointer
from train.config import CheckpointConfig

NAMES = st.text("ab[]!^-*?\\{}~%#:'\"é \n", min_size=1, max_size=6) | st.sampled_from(
    ["gs:", "s3:", "a\udce4", "[[]", "q[1]", "**", "..", "gs:a"]
)


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(NAMES)
def test_a_path_is_refused_or_its_checkpoints_come_back(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = run_path("run_dir", f"{folder}/runs/{name}/run")
        except ValueError as error:
            assert "run_dir=" in str(error) and "; try --run-dir with another path" in str(error)
            return
        (path / "beside").mkdir(parents=True)
        state = {"w": jnp.arange(4.0)}
        with closing(Checkpointer(path, CheckpointConfig())) as checkpointer:
            checkpointer.save(1, state, {}, force=True)
            checkpointer.wait()
            back = checkpointer.restore(jax.eval_shape(lambda: state), 1)
        assert back["w"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["q[1]", "a*", "a?", "a\\b", "**", "gs:", "s3:", "r\udce4"])
def test_who_begins_a_run_refuses_the_path_before_it_writes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name / "run"
    words = ["train", "tiny", "--run-dir", str(path)]
    options = training(words).options
    for begin in (
        lambda: train(options.run, run_dir=path),
        lambda: open_run_directory(preset("tiny"), path=path),
        lambda: Restartable(words[1:], options, places=None),  # pyright: ignore[reportArgumentType]
        lambda: launch_slurm(SlurmOptions(nodes=1, dry_run=True), words),
        lambda: gcloud(TpuVmOptions(name="pod", zone="us-central2-b"), training(words)),
        lambda: make_study(path, load_study("smoke")),
        lambda: verify_resume(VerifyResumeOptions(folder=path), ["tiny"]),
    ):
        with pytest.raises(ValueError, match=r"(run_dir|dir|folder)=.* must .*; try --.* another"):
            begin()
    assert list(tmp_path.iterdir()) == []
    os.mkdir(tmp_path / name)
    monkeypatch.chdir(tmp_path / name)
    for begin in (
        lambda: train(options.run),
        lambda: open_run_directory(preset("tiny"), path=None),
        lambda: verify_resume(VerifyResumeOptions(), ["tiny"]),
    ):
        with pytest.raises(ValueError, match=r"(run_dir|folder)=.*/runs' must .*; try --"):
            begin()
    assert list(Path().iterdir()) == []
