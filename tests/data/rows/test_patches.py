"""Rows of images with a class for each patch: maps go with their images; what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.arrays_config import PatchesConfig
from data.rows import image_reader
from data.rows.image_reader import ImageReader
from data.rows.views import commonest
from tests.data.rows.records import arrays, opened


def mapped(tmp_path: Path, **changes: Any) -> PatchesConfig:
    draw = np.random.default_rng(1)
    fields = {
        "image": draw.integers(0, 256, (6, 8, 12)).astype(np.uint8),
        "map": draw.choice([0, 1, 2, 255], (6, 8, 12)).astype(np.uint8),
    }
    return dataclasses.replace(
        PatchesConfig(
            sources=(arrays(tmp_path / "a.npz", **fields),),
            image_size=(8, 12),
            channels=1,
            patch_size=4,
            held_out=0.0,
            cache_dir=str(tmp_path / "cache"),
        ),
        **changes,
    )


def test_a_patch_has_the_commonest_class_of_its_pixels(tmp_path: Path) -> None:
    rows = opened(mapped(tmp_path))
    batch = rows.batch(np.arange(6))
    maps = np.load(tmp_path / "a.npz")["map"]
    for row, example in enumerate(rows.examples(np.arange(6))):
        for patch in range(6):
            top, left = 4 * (patch // 3), 4 * (patch % 3)
            values = maps[example, top : top + 4, left : left + 4]
            wanted = np.argmax([np.sum(values == c) for c in range(3)])
            assert batch.targets[row, patch] == wanted and batch.weights[row, patch] == 1
    classes = np.full((8, 8), 255, np.uint8)
    classes[0, 0] = 1
    assert commonest(classes, 3, 4, 255).tolist() == [1, -1, -1, -1]


def test_maps_are_moved_and_mirrored_with_their_images(tmp_path: Path) -> None:
    brightness = np.random.default_rng(0).integers(0, 3, (4, 8, 8)).astype(np.uint8)
    source = arrays(tmp_path / "b.npz", image=brightness * 100, map=brightness)
    config = mapped(
        tmp_path,
        sources=(source,),
        image_size=(8, 8),
        patch_size=1,
        crop="padded",
        flip=True,
        mean=(0.0,),
        std=(1.0,),
    )
    batch = opened(config).batch(np.arange(40))
    seen = np.round(batch.images.reshape(40, 64) * 2.55)
    counted = batch.weights > 0
    np.testing.assert_array_equal(seen[counted], batch.targets[counted])
    assert 0.3 < counted.mean() < 0.95, "what is moved in has no class"


def test_a_map_is_as_large_as_its_image_is_seen(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    folder = tmp_path / "all" / "x"
    folder.mkdir(parents=True)
    classes = draw.integers(0, 3, (8, 12)).astype(np.uint8)
    turned = Image.fromarray(np.rot90(classes * 100))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "a.jpg", exif=exif)
    Image.fromarray(classes).save(folder / "a.map.png")
    config = mapped(tmp_path, sources=(f"images:{tmp_path / 'all'}",))
    opened(config)
    Image.fromarray(np.rot90(classes)).save(folder / "a.map.png")
    message = r"a\.map\.png must have the height and width of .*a\.jpg, .* 12 x 8, and 8 x 12 as"
    with pytest.raises(ValueError, match=message):
        opened(config)


@pytest.mark.parametrize("crop", ["none", "resized"])
def test_maps_that_are_not_remembered_are_read_again(
    tmp_path: Path, crop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = mapped(tmp_path, crop=crop)
    wanted = opened(config).batch(np.arange(9))
    monkeypatch.setattr(image_reader, "KEPT_BYTES", 100)
    for own, right in zip(opened(config).batch(np.arange(9)), wanted, strict=True):
        np.testing.assert_array_equal(own, right)


def test_confusion_of_maps_needs_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = mapped(tmp_path)
    rows = opened(dataclasses.replace(config, held_out_sources=config.sources), "held_out")
    batch = rows.batch(np.arange(6))
    monkeypatch.setattr(ImageReader, "pixels", None)
    names, table = rows.confusion(np.arange(6), batch.targets)
    assert names == ("0", "1", "2") and table.sum() == batch.weights.sum() == np.trace(table)


def test_a_class_that_only_the_test_split_has_is_refused(tmp_path: Path) -> None:
    maps = mapped(
        tmp_path,
        held_out_sources=(
            arrays(
                tmp_path / "t.npz",
                image=np.zeros((1, 8, 12), np.uint8),
                map=np.full((1, 8, 12), 3, np.uint8),
            ),
        ),
    )
    with pytest.raises(ValueError, match=r"label '3' in .*t\.npz at record 0 must be one of"):
        opened(maps, "held_out")
