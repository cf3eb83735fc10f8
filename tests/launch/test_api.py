"""MeshLoom from Python, with a family, an objective, data and an optimizer of the user's own."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from launch.presets.preset import preset
from launch.run.room import step_extra
from model.families.decoder_config import DecoderConfig
from model.flops import flops_per_token, parameter_count
from model.sharding import abstract_mesh
from model.weights import weights
from tests.command import ROOT, lines_until, records
from tests.outside.pictures import PerceptronConfig
from train.config import OptimizerConfig
from train.cut import cut

OUTSIDE = ROOT / "tests" / "outside"
PARTS = "tests.outside PerceptronConfig PictureData Factored NumbersData".split()


def program(run: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.outside.run", str(run), how],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "4"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> dict[str, float]:
    """What the program printed last."""
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out
    return json.loads(out.splitlines()[-1])


def test_parts_of_the_users_own_train_are_killed_or_stopped_and_go_on_bit_equal(
    tmp_path: Path,
) -> None:
    straight, disturbed = tmp_path / "straight", tmp_path / "disturbed"
    measured = ended(program(straight, "start"))
    assert measured["step"] == 40 and measured["finished"] and measured["signals"]
    assert measured["eval_accuracy"] > 0.8 and measured["eval_targets"] == 64

    with program(disturbed, "start") as process:
        lines_until(re.compile("12/40"), process)
        process.kill()
    assert process.returncode == -9

    process = program(disturbed, "resume")
    lines_until(re.compile("20/40"), process)
    process.send_signal(signal.SIGTERM)
    stopped = ended(process)
    assert 20 <= stopped["step"] < 40 and not stopped["finished"] and stopped["signals"]
    assert (disturbed / "checkpoints" / str(stopped["step"])).is_dir()

    assert ended(program(disturbed, "resume")) == measured
    losses = [[(r["step"], r["loss"]) for r in records(run)] for run in (straight, disturbed)]
    assert losses[0] == losses[1] and len(losses[0]) == 40


def test_a_part_of_anothers_name_is_refused() -> None:
    class Mine(OptimizerConfig):
        pass

    class Own(DecoderConfig):
        pass

    tiny = preset("tiny")
    with pytest.raises(ValueError, match=r"^train.optimizer.name=adamw must be a name of its own"):
        train = dataclasses.replace(tiny.train, optimizer=Mine(learning_rate=1.0))
        dataclasses.replace(tiny, train=train)
    with pytest.raises(ValueError, match=r"^model.kind=decoder must be a name of its own in Own"):
        dataclasses.replace(tiny, model=Own(**vars(tiny.model)))


def test_what_plans_do_not_know_they_refuse_and_training_goes_without() -> None:
    model = PerceptronConfig().resolve("gpu")
    assert parameter_count(model) == 64 * 32 + 32
    assert flops_per_token(model, 1) == 6 * parameter_count(model)
    with pytest.raises(ValueError, match=r"^model.kind=perceptron must read tokens to be planned"):
        cut(model, 1)
    with jax.sharding.use_abstract_mesh(abstract_mesh(fsdp=4)):
        assert step_extra(model, preset("tiny").train, preset("tiny").data, "gpu") is None


def test_a_weight_that_was_not_declared_is_named() -> None:
    class Bare(nnx.Module):
        def __init__(self) -> None:
            self.table = nnx.Param(jnp.zeros((2, 2)))

    with pytest.raises(ValueError, match=r"^weight table must be declared by"):
        weights(Bare())


def test_no_line_of_the_packages_knows_them() -> None:
    for room in ("model", "data", "train", "launch"):
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not [name for name in PARTS if name in text], path


def test_they_are_short() -> None:
    lengths = {"pictures": 120, "optimizer": 30, "source": 40}
    for name, most in lengths.items():
        assert len((OUTSIDE / f"{name}.py").read_text().splitlines()) <= most, name
