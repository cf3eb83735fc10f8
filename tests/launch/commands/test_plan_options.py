from dataclasses import replace
from pathlib import Path

import pytest

from launch import cli
from launch.commands.plan import plan_options
from launch.config import MeshConfig, save
from launch.presets.preset import preset
from tests.advice import followed


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        ("--elastic --search", "search=True must not be given with --elastic"),
        ("--elastic --out there", "out=there must not be given with --elastic"),
        ("--elastic --mesh.tensor 2", "tensor 2 must not be given with --elastic"),
        ("--elastic --model.remat full", "model.remat=full must not be given with --elastic"),
        ("--search --model.remat=dots", "model.remat=dots must not be given with --search"),
        ("--search --train.accumulation 2", "train.accumulation=2 must not be given with --search"),
        ("--search --mesh.fsdp 8", "mesh=fsdp 8 must not be given with --search"),
        (
            "--mesh.fsdp 256 --batch-tokens 4M --train.batch-size 500",
            "train.batch-size=500 must not be given with --batch-tokens 4M",
        ),
        (
            "--search --tokens=1T --train.steps 9",
            "train.steps=9 must not be given with --tokens 1T",
        ),
    ],
)
def test_what_would_be_thrown_away_is_refused(flags: str, refused: str) -> None:
    messages = followed(plan_options, ["llama3-8b", "--on", "v5e-256", *flags.split()], most=1)
    assert len(messages) == 1 and refused in messages[0]


@pytest.mark.parametrize("flag", ["--search", "--elastic"])
def test_what_a_preset_says_is_replaced(flag: str) -> None:
    options = plan_options(["gpt3-175b", "--on", "v5p:8x8x8", flag, "--train.batch-size", "512"])
    assert options.run.train.batch_size == 512


def test_mesh_of_a_file_is_refused_with_flags_that_undo_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = replace(preset("llama3-8b"), mesh=MeshConfig(fsdp=8, tensor=2))
    save(run, tmp_path / "config.yaml")
    asked = f"plan --config {tmp_path / 'config.yaml'} --on v5e-256 --search".split()
    assert cli.main(asked) == 1
    assert "try --mesh.fsdp -1 --mesh.tensor 1, or without" in capsys.readouterr().err
    undone = plan_options([*asked[1:], "--mesh.fsdp", "-1", "--mesh.tensor", "1"])
    assert undone.run.mesh == MeshConfig()
