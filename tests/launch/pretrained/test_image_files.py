"""Runs that begin with a published model of images: they see what it saw, and an export says so."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.arrays_config import ImagesConfig
from data.errors import UserError
from launch.presets.preset import preset
from launch.pretrained.adopt import adopt
from launch.pretrained.image_files import FILE, preprocessor, with_images
from model.families.convnet_config import ConvnetConfig
from model.families.vision_config import VisionConfig
from tests.oracles.convnets.models import checkpoint as convnet
from tests.oracles.published.models import checkpoint as published

RESNET = {"crop_pct": 0.875, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": 9}
KINDS: dict[str, tuple[Callable[[str, Path], Path], str]] = {
    "vit": (published, "tiny-vit"),
    "resnet-bottleneck": (convnet, "tiny-convnet"),
    "convnext": (convnet, "tiny-photos"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("named", [False, True])
def test_a_run_sees_images_as_the_published_model(kind: str, named: bool, tmp_path: Path) -> None:
    write, name = KINDS[kind]
    folder = write(kind, tmp_path)
    (folder / FILE).write_text(json.dumps(RESNET))
    config = adopt(f"hf:{folder}", preset(name) if named else None)
    data, model = config.data, config.model
    assert isinstance(model, ConvnetConfig | VisionConfig)
    assert isinstance(data, ImagesConfig)
    assert (data.mean, data.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (data.channels, data.centre) == (3, 0.875)
    model.require_input(data.shape if kind == "vit" else (64, 64, 3))
    assert data.image_size == (getattr(model, "image_size", (9, 9)))
    assert model.head.kind == "labels" and config.start_from == f"hf:{folder}"


@pytest.mark.parametrize(
    ("said", "size", "centre"),
    [
        ({}, (64, 64), 1.0),
        ({"size": 224}, (224, 224), 1.0),
        ({"size": {"height": 20, "width": 30}}, (20, 30), 1.0),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
            (224,) * 2,
            0.875,
        ),
        (
            {"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": False},
            (256,) * 2,
            1.0,
        ),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.9}, (224, 224), 0.9),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.9}, (384, 384), 1.0),
    ],
)
def test_what_is_seen_is_what_the_file_says(
    said: dict[str, Any], size: tuple[int, int], centre: float, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_text(json.dumps(said))
    data = with_images(preset("tiny-photos").data, ConvnetConfig(), tmp_path)
    assert (data.image_size, data.centre) == (size, centre)


@pytest.mark.parametrize("centre", [0.875, 0.9, 1.0])
@pytest.mark.parametrize("size", [(28, 28), (400, 500)])
def test_an_export_says_what_is_read_again(
    centre: float, size: tuple[int, int], tmp_path: Path
) -> None:
    usual: Any = preset("tiny-photos").data
    data = dataclasses.replace(usual, image_size=size, centre=centre)
    (tmp_path / FILE).write_text(json.dumps(preprocessor(data)))
    again = with_images(usual, ConvnetConfig(), tmp_path)
    assert dataclasses.replace(again, mean=data.mean, std=data.std) == data
    assert set(again.mean) == set(data.mean) and set(again.std) == set(data.std)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"size": 10, "crop_size": 20}, r"crop_size=20 must be within size=10"),
        ({"size": {"longest_edge": 9}}, r"size=.* must have a height and a width"),
    ],
)
def test_what_is_not_done_is_refused(said: dict[str, Any], why: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps(said))
    with pytest.raises(UserError, match=why):
        with_images(preset("tiny-photos").data, ConvnetConfig(), tmp_path)
