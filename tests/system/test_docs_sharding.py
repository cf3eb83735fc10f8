"""The commands of docs/sharding.md fit their meshes, and its table is the program's."""

import dataclasses
import re
import shlex

import jax
import pytest
import tyro

from launch.presets.preset import preset
from launch.process.mesh import axis_sizes
from launch.run.arguments import TrainOptions
from launch.run.build import check_batch, fresh_state
from model.sharding import MESH_AXES, abstract_mesh
from tests.command import ROOT

TEXT = (ROOT / "docs" / "sharding.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"`(meshloom train \w[^`]*)`", TEXT)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_fit_their_meshes(command: str) -> None:
    _, _, name, *flags = shlex.split(command)
    run = tyro.cli(TrainOptions, args=flags, default=TrainOptions(run=preset(name))).run
    sizes = dataclasses.asdict(run.mesh)
    count = 1
    for size in sizes.values():
        count *= max(size, 1)
    with jax.sharding.use_abstract_mesh(abstract_mesh(**axis_sizes(run.mesh, count))):
        check_batch(run.train, run.data.sequence_length, run.model)
        jax.eval_shape(fresh_state(run.model.resolve("tpu"), run.train))


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 6


def test_the_table_of_logical_axes_is_the_programs() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", TEXT, re.MULTILINE)
    assert {name: tuple(re.findall(r"\w+", axes)) for name, axes in rows} == MESH_AXES
