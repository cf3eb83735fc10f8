"""Checks over width by real training, on one device at the smallest sizes that tell."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from launch.config import RunConfig
from launch.ladder import coordinate, transfer
from launch.presets.preset import preset
from model.families.decoder_config import DecoderConfig
from tests.models import mesh_of
from train.config import OptimizerConfig

WIDTHS = (16, 64)


@pytest.fixture
def base(tmp_path: Path) -> RunConfig:
    run = preset("tiny")
    sizes = {"embed_dim": 16, "num_heads": 4, "num_kv_heads": 2, "head_dim": 4, "mlp_dim": 32}
    data = {"sources": ("synthetic:20000",), "sequence_length": 16, "cache_dir": str(tmp_path)}
    return dataclasses.replace(
        run,
        model=dataclasses.replace(run.model, num_layers=1, max_length=16, **sizes),
        data=dataclasses.replace(run.data, **data),
        train=dataclasses.replace(
            run.train,
            steps=3,
            batch_size=4,
            optimizer=OptimizerConfig(schedule="constant", warmup_steps=0),
        ),
    )


def test_activations_are_flat_under_mup_and_are_not_under_the_standard(
    base: RunConfig, tmp_path: Path
) -> None:
    lines: list[str] = []
    with jax.set_mesh(mesh_of()):
        standard, mup = coordinate.check(base, WIDTHS, 3e-2, 1, lines.append)
    assert lines == [f"{kind} of width {w}" for kind in ("standard", "mup") for w in WIDTHS]
    assert mup.flat and not standard.flat
    assert (standard.slopes[1:4] > 2 * coordinate.TOLERANCE).all()
    # The base itself is the same model under both; logits have changed after a step, not before.
    np.testing.assert_array_equal(standard.means[0], mup.means[0])
    assert mup.means.shape == (2, len(coordinate.KINDS), 4)
    assert (mup.means[:, -1, 0] == 0).all() and (mup.means[:, :, 1:] > 0).all()
    text = coordinate.verdict([standard, mup])
    assert "standard: not all activations are flat" in text
    assert "mup: all activations are flat" in text
    coordinate.draw([standard, mup], tmp_path)
    assert (tmp_path / "coordinate.png").read_bytes().startswith(b"\x89PNG")
    assert "change of logits" in (tmp_path / "coordinate.svg").read_text(encoding="utf-8")


def test_curves_are_those_of_the_runs(base: RunConfig, tmp_path: Path) -> None:
    lines: list[str] = []
    rates = [1e-4, 1e-2]
    with jax.set_mesh(mesh_of()):
        curves = transfer.check(base, WIDTHS, rates, 1, lines.append)
    assert [(c.parametrization, c.width) for c in curves] == [
        (kind, width) for kind in ("standard", "mup") for width in WIDTHS
    ]
    assert len(lines) == 8 and lines[0].startswith("standard of width 16 at 0.0001: 5.")
    for curve in curves:
        assert curve.losses[1] < curve.losses[0] - 0.01, "a higher rate learns more in three steps"
    np.testing.assert_array_equal(curves[0].losses, curves[2].losses)
    assert (curves[1].losses != curves[3].losses).all()
    transfer.draw(curves, tmp_path)
    assert (tmp_path / "transfer.png").read_bytes().startswith(b"\x89PNG")
    assert "width 64" in (tmp_path / "transfer.svg").read_text(encoding="utf-8")


def test_a_wider_model_keeps_the_proportions_of_the_base() -> None:
    base = preset("llama3-8b").model
    wide = base.widened(8192, "mup")
    assert isinstance(wide, DecoderConfig)
    assert (wide.embed_dim, wide.num_heads, wide.num_kv_heads, wide.mlp_dim) == (
        8192,
        64,
        16,
        28672,
    )
    assert (wide.head_dim, wide.base_width) == (128, 4096)
    assert base.widened(4096, "standard") == base
    with pytest.raises(ValueError, match=r"widths=200 must be a multiple of .*=128, .*; try 256"):
        base.widened(200, "mup")
