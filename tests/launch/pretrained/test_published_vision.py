"""Every published kind of vision model: its scores are those of `transformers`, at its own size and
at others, on any mesh, and it goes out as it came in."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from launch.pretrained.checkpoint import open_pretrained
from launch.pretrained.export import export_weights
from launch.pretrained.load import load_weights
from launch.pretrained.match import match
from launch.pretrained.safetensors import open_folder
from launch.pretrained.verify import scores
from launch.run.export import type_of
from tests.families import QUICK
from tests.launch.pretrained.test_published import loaded
from tests.models import mesh_of
from tests.oracles.published.models import HERE, VISION, checkpoint

GOLDEN = np.load(HERE / "vision.npz")
SIZES = {"": (16, 16), "/other": (12, 20), "/smaller": (8, 8)}
"""As in `tests.oracles.published.vision`."""


def images(size: tuple[int, int], count: int = 1) -> np.ndarray:
    """Those that the oracle was asked, each so often, [B, H, W, C]."""
    drawn = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    return np.repeat(drawn.transpose(0, 2, 3, 1), count, 0)


def close(actual: np.ndarray, wanted: np.ndarray) -> None:
    """Within 2e-5 of the largest output."""
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", VISION)
def test_scores_are_those_of_transformers_and_weights_go_out_as_they_came(
    kind: str, tmp_path: Path
) -> None:
    pretrained = open_pretrained(f"hf:{checkpoint(kind, tmp_path / 'in')}")
    config = VISION[kind]["config"]
    assert type_of(pretrained.model) == config["model_type"]
    with jax.set_mesh(mesh_of(replica=2, fsdp=2, tensor=2)):
        model = loaded(pretrained)
        close(scores(model, images(SIZES[""], 2)), np.repeat(GOLDEN[kind], 2, 0))
        fields = export_weights(model, tmp_path / "out", config["model_type"], "float32")
    ours, theirs = open_folder(tmp_path / "out"), open_folder(tmp_path / "in")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        rows = slice(0, tensor.rows)
        assert ours[name].shape == tensor.shape, name
        np.testing.assert_array_equal(ours[name].read(rows), tensor.read(rows), err_msg=name)
    assert fields["architectures"] == config["architectures"]
    assert open_pretrained(f"hf:{tmp_path / 'out'}").model == pretrained.model


@pytest.mark.parametrize(("kind", "other"), [("vit", "/other"), ("dinov2-registers", "/smaller")])
def test_images_of_another_size_find_interpolated_places(
    kind: str, other: str, tmp_path: Path
) -> None:
    """In the network, or once for all as weights are read, of which a line says so."""
    pretrained, said = open_pretrained(f"hf:{checkpoint(kind, tmp_path)}"), []
    size = SIZES[other]
    with jax.set_mesh(mesh_of()):
        close(scores(loaded(pretrained), images(size)), GOLDEN[kind + other])
        there = dataclasses.replace(
            pretrained.model, image_size=size, attention="xla", dtype="float32"
        )
        fresh = jax.jit(lambda: there.build(jax.random.key(0)), compiler_options=QUICK)()
        close(
            scores(load_weights(fresh, pretrained, said.append), images(size)), GOLDEN[kind + other]
        )
    wanted = f"positions of images of 16 x 16 are interpolated to {size[0]} x {size[1]}, bicubic"
    assert any(wanted in line for line in said)


def test_a_pooler_is_left_out_and_said(tmp_path: Path) -> None:
    folder = checkpoint("vit-bare", tmp_path)
    pretrained = open_pretrained(f"hf:{folder}")
    pooled = {f"pooler.dense.{part}": None for part in ("weight", "bias")}
    tensors = {**pretrained.tensors, **{n: pretrained.tensors["layernorm.bias"] for n in pooled}}
    more = dataclasses.replace(pretrained, tensors=tensors)
    assert sorted(match(more, pretrained.model).left) == sorted(pooled)


def test_patches_that_are_no_squares_are_refused(tmp_path: Path) -> None:
    folder = checkpoint("vit", tmp_path)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"patch_size": [4, 8]}))
    with pytest.raises(ValueError, match=r"patch_size must be one number, .* \[4, 8\]"):
        open_pretrained(f"hf:{folder}")
