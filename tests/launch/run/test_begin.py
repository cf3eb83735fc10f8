"""A run begins with the weights of another: bit by bit, on another mesh, with another head."""

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from data.errors import UserError
from launch.config import MeshConfig, RunConfig
from launch.run.begin import begun, open_source
from launch.run.build import fresh_state, make_fresh_state, resolve
from launch.run.saved import MovedTokenizer, open_saved
from launch.run.source import adopt_source
from tests.command import SMALL, meshloom
from tests.models import mesh_of
from train.checkpoint.tree import named_leaves
from train.state import TrainState

STEPS = ("--train.steps", "2", "--train.optimizer.ema-decay", "0.5")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose moving average is not its last weights."""
    here = tmp_path_factory.mktemp("trained")
    meshloom("train", "tiny", *SMALL, *STEPS, "--run-dir", str(here / "run"))
    return here / "run"


def begin(config: RunConfig, **sizes: int) -> tuple[TrainState, TrainState, list[str]]:
    """The state that such a run begins with on a mesh, a fresh one, and what was said."""
    said: list[str] = []
    with jax.set_mesh(mesh_of(**sizes)):
        config = resolve(config, "cpu")
        fresh = fresh_state(config.model, config.train)
        source = open_source(config)
        assert source is not None
        return begun(make_fresh_state(fresh), source, said.append), make_fresh_state(fresh), said


def test_weights_are_the_average_on_another_mesh_and_the_rest_is_fresh(trained: Path) -> None:
    with open_saved(trained, None, MeshConfig(), MovedTokenizer()) as saved:
        wanted = {n: np.asarray(x) for n, x in named_leaves(saved.state.evaluated).items()}
        last = {n: np.asarray(x) for n, x in named_leaves(saved.state.model).items()}
    state, fresh, said = begin(adopt_source(str(trained), None), replica=2, fsdp=2, tensor=2)
    for tree in (state.model, state.average):
        leaves = named_leaves(tree)
        assert leaves.keys() == wanted.keys()
        for name, array in leaves.items():
            np.testing.assert_array_equal(array, wanted[name], err_msg=name)
            assert array.sharding == named_leaves(fresh.model)[name].sharding
    assert any((wanted[name] != last[name]).any() for name in wanted)
    assert int(state.step) == 0
    for actual, other in zip(
        jax.tree.leaves(state.optimizer), jax.tree.leaves(fresh.optimizer), strict=True
    ):
        np.testing.assert_array_equal(actual, other)
    assert re.fullmatch(r"weights: [\d,]+ parameters, the moving average of .*/2 \(\w+\)", said[0])
    assert len(said) == 1


def test_another_question_has_a_fresh_head_and_a_resumed_run_needs_the_first_no_more(
    tmp_path: Path,
) -> None:
    flags = (
        "--model.num-layers 1 --model.embed-dim 16 --model.num-heads 2 --model.mlp-dim 32 "
        "--data.sequence-length 16 --train.batch-size 8 --train.steps 2 --train.eval-batches 1"
    ).split()
    rest = ("--no-tensorboard", "--run-dir")
    meshloom("train", "tiny-bert", *flags, *rest, "first", cwd=tmp_path)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        rows = [(f"word{n} word{n % 7}", f"kind {n % 3}") for n in range(45)]
        csv.writer(file).writerows([("text", "label"), *rows])
    words = ("--data.sources", "csv:labels.csv", "--data.held-out", "0.2", *flags[8:])
    said = meshloom(
        *("train", "tiny-labels", "--start-from", "first", "--model.head.outputs", "3", *words),
        *(*rest, "second"),
        cwd=tmp_path,
    ).stdout
    assert "fresh, as the checkpoint has none that fit: task_head/b" in said
    assert "left out, as the model has no use for them: task_head/" in said
    (tmp_path / "first").rename(tmp_path / "elsewhere")
    words = ("train", "--resume", "--run-dir", "second", "--train.steps", "3")
    meshloom(*words, cwd=tmp_path)
    begun_from = [
        json.loads((tmp_path / f"second/checkpoints/{step}/meta.json").read_text())["start_from"]
        for step in (2, 3)
    ]
    assert begun_from[0] == begun_from[1]
    assert begun_from[0]["spec"] == str(tmp_path / "first")
    assert re.fullmatch(r"[0-9a-f]{64}", begun_from[0]["digest"])
    error = meshloom(*words, "--start-from", "other", cwd=tmp_path, expect=1).stderr
    assert f"start_from: was {tmp_path}/first, now {tmp_path}/other" in error


def refused(config: RunConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        begin(config)


def test_what_cannot_be_begun_with_is_refused(trained: Path, tmp_path: Path) -> None:
    config = adopt_source(str(trained), None)
    refused(
        dataclasses.replace(config, model=dataclasses.replace(config.model, rope_theta=5e5)),
        r"model\.rope_theta=500000\.0 must be 10000\.0, because .*/run has weights",
    )
    wide = dataclasses.replace(config.model, vocab_multiple=3)
    refused(
        dataclasses.replace(config, model=wide), r"must hold embedding/table of \(\d+, 32\).*it has"
    )
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "checkpoints/2/meta.json").write_text("{}")
    config = dataclasses.replace(config, start_from=str(run))
    refused(config, r"must have a good newest checkpoint.*meta\.json: .*checkpoint verify")
    shutil.rmtree(run / "checkpoints/2")
    refused(config, r"must hold a checkpoint, because the state is read")
    with pytest.raises(UserError, match=r"must be a run directory, hf:DIRECTORY.*try the dir"):
        adopt_source(str(tmp_path), None)
    (tmp_path / "config.json").touch()
    with pytest.raises(UserError, match=f"config.yaml of a run; try hf:{tmp_path}"):
        adopt_source(str(tmp_path), None)
