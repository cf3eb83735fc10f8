"""Rows of images, of images with maps, and of series: what they show, and what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.arrays_config import ImagesConfig, PatchesConfig, SeriesConfig
from data.rows.label_names import sorted_names
from data.rows.predictor import Example
from data.rows.series import SeriesPredictor
from data.rows.views import View, all_of, centre, drawn, shown
from data.scores import of_classes, of_segments
from tests.data.rows.records import arrays, opened

VARIED: dict[str, Any] = {"crop": "padded", "padding": 2, "flip": True, "mixup": 0.4}


@pytest.fixture
def images(tmp_path: Path) -> ImagesConfig:
    """12 grey images of 8 x 6, whose brightness is their number times 10; 3 labels."""
    numbers = np.arange(12, dtype=np.uint8)
    pixels = np.broadcast_to(numbers[:, None, None] * 10, (12, 8, 6))
    return ImagesConfig(
        sources=(arrays(tmp_path / "a.npz", image=pixels, label=numbers % 3),),
        image_size=(8, 6),
        channels=1,
        held_out=0.0,
        cache_dir=str(tmp_path / "cache"),
    )


def test_an_image_has_its_label_and_the_scale_of_the_config(images: ImagesConfig) -> None:
    rows = opened(dataclasses.replace(images, mean=(0.2,), std=(0.1,)))
    batch = rows.batch(np.arange(12))
    numbers = np.round((batch.images[:, 0, 0, 0] * 0.1 + 0.2) * 25.5).astype(int)
    assert sorted(numbers.tolist()) == list(range(12))
    assert batch.targets.tolist() == (numbers % 3).tolist() and batch.others is None
    assert rows.labels == ("0", "1", "2") and rows.meta()["names"] == ["0", "1", "2"]


@pytest.mark.parametrize("kind", ["images", "resized", "patches", "series"])
def test_a_row_is_the_same_in_any_batch_and_process(kind: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (12, 9, 10, 3)).astype(np.uint8)
    maps = draw.integers(0, 3, (12, 9, 10)).astype(np.uint8)
    fields = {"image": pixels, "map": maps, "label": np.arange(12) % 2, "series": pixels[:, 0]}
    common: dict[str, Any] = {
        "sources": (arrays(tmp_path / "a.npz", **fields),),
        "held_out": 0.0,
        "cache_dir": str(tmp_path / "cache"),
        "seed": 5,
    }
    config: Any = {
        "images": lambda: ImagesConfig(image_size=(8, 8), **VARIED, **common),
        "resized": lambda: ImagesConfig(image_size=(8, 8), crop="resized", flip=True, **common),
        "patches": lambda: PatchesConfig(
            image_size=(8, 8), patch_size=4, crop="resized", flip=True, **common
        ),
        "series": lambda: SeriesConfig(series_length=10, channels=3, **common),
    }[kind]()
    indices = np.arange(7, 43)
    whole = opened(config).batch(indices)
    parts = [opened(config).batch(indices[part]) for part in (slice(7), slice(7, None))]
    for both, first, last in zip(whole, *parts, strict=True):
        if both is not None:
            np.testing.assert_array_equal(both, np.concatenate([first, last]))
    different = len({row.tobytes() for row in whole[0]})
    assert different == 12 if kind == "series" else different > 30
    assert (opened(config).digest, opened(config, "train").digest) == (opened(config).digest,) * 2
    other = dataclasses.replace(config, seed=6)
    assert opened(other).digest != opened(config).digest


def test_evaluation_varies_nothing_and_padding_does_not_count(images: ImagesConfig) -> None:
    config = dataclasses.replace(images, held_out_sources=images.sources, **VARIED)
    rows = opened(config, "held_out")
    batch, again = rows.batch(np.arange(14)), rows.batch(np.arange(14))
    assert batch.weights.tolist() == [1] * 12 + [0] * 2 and batch.others is None
    np.testing.assert_array_equal(batch.images, again.images)
    assert len({row.tobytes() for row in batch.images[:12]}) == 12
    assert all(np.ptp(row) == 0 for row in batch.images[:12])
    assert rows.digest == opened(config).digest


def test_mixed_images_have_both_labels_by_their_shares(images: ImagesConfig) -> None:
    rows = opened(dataclasses.replace(images, mixup=1.0, mean=(0.0,), std=(1.0,)))
    batch = rows.batch(np.arange(500))
    own = rows.examples(np.arange(500))
    seen = batch.images[:, 0, 0, 0] * 25.5
    others = (seen - batch.shares * own) / np.maximum(1 - batch.shares, 1e-3)
    clear = batch.shares < 0.95
    np.testing.assert_array_equal(np.round(others[clear]) % 3, batch.others[clear])
    np.testing.assert_array_equal(own % 3, batch.targets)
    counts, _ = np.histogram(batch.shares, 4, (0, 1))
    assert counts.min() > 90, "Beta(1, 1) is uniform"
    assert len(set(np.round(others[clear]))) == 12, "the second is drawn from all"


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    wanted=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    share=st.floats(0.1, 1),
    seed=st.integers(0, 999),
)
def test_views_lie_in_the_image_and_have_the_shape(
    size: tuple[int, int], wanted: tuple[int, int], share: float, seed: int
) -> None:
    config = ImagesConfig(sources=("npz:x",), image_size=wanted, crop="resized", flip=True)
    middle = centre(size, wanted, share)
    part = drawn(config, size, np.random.default_rng(seed))
    for left, top, right, bottom in (middle.box, part.box):
        assert -1e-6 <= left < right <= size[1] + 1e-6 and -1e-6 <= top < bottom <= size[0] + 1e-6
    (left, top, right, bottom), (h, w) = middle.box, wanted
    assert (right - left) / (bottom - top) == pytest.approx(w / h)
    assert max((right - left) / size[1], (bottom - top) / size[0]) == pytest.approx(share)
    assert (left + right, top + bottom) == pytest.approx((size[1], size[0]))
    pixels = np.full((*size, 3), 7, np.uint8)
    assert shown(pixels, part, wanted).shape == (*wanted, 3)
    np.testing.assert_array_equal(shown(pixels, part, wanted), np.full((*wanted, 3), 7))


def test_the_areas_of_random_parts_reach_from_the_smallest_to_all() -> None:
    config = ImagesConfig(sources=("npz:x",), crop="resized", smallest_crop=0.25)
    draws = (drawn(config, (100, 100), np.random.default_rng(n)).box for n in range(400))
    boxes = np.array(list(draws))
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    areas, aspects = widths * heights / 1e4, widths / heights
    assert 0.24 < areas.min() < 0.3 and 0.9 < areas.max() <= 1
    assert 0.72 < aspects.min() < 0.8 and 1.25 < aspects.max() < 1.38
    assert {bool(b) for b in boxes[:, 0] > 0} == {True, False}


def test_a_moved_and_mirrored_image_is_that_of_numpy() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    view = all_of((3, 4))._replace(down=1, right=-2, flipped=True)
    wanted = np.full((3, 4), 9, np.uint8)
    wanted[1:, :2] = pixels[:2, 2:]
    np.testing.assert_array_equal(shown(pixels, view, (3, 4), empty=9), wanted[:, ::-1])


@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30, 1)])
def test_floats_are_resized_as_bytes_are(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(60, 190, shape).astype(np.uint8)
    view = View((3, 2, 24, 17))
    own = shown((pixels / 255).astype(np.float32), view, (8, 9)) * 255
    np.testing.assert_allclose(own, shown(pixels, view, (8, 9)), atol=1.01)


def test_names_that_are_numbers_stand_by_their_size() -> None:
    zeros = tuple("0" * n + "9" for n in range(6, -1, -1))
    assert sorted_names(["10", "-1", *zeros]) == ("-1", *zeros, "10")
    assert sorted_names(["--1", "2", "10"]) == ("--1", "10", "2")


def test_measures_of_classes_and_places() -> None:
    scores = np.eye(7)[[0, 1, 2, 3]] + np.arange(7) / 100
    targets = np.array([0, 1, 3, 0])
    measures = of_classes(scores, targets)
    assert (measures["accuracy"], measures["top_5_accuracy"]) == (0.5, 0.75)
    assert "top_5_accuracy" not in of_classes(scores[:, :5], targets)
    table = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    assert of_segments(table) == pytest.approx({"accuracy": 5 / 6, "mean_iou": (3 / 4 + 2 / 3) / 2})


def test_series_of_other_lengths_are_refused_or_fitted(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_text("@classLabel true\n@data\n1,2,3:a\n4,5:b\n6,7,8,9:a\n")
    config = SeriesConfig(
        sources=(f"ts:{path}",), series_length=3, mean=(1.0,), held_out=0.0, cache_dir=str(tmp_path)
    )
    message = (
        r"data\.series_length=3 .* 2 of 3 have another length, the first in .*a\.ts at line 4 of 2,"
        r" all together 2 to 4; try training with --data\.series-length 4, and --data\.unequal fit"
    )
    with pytest.raises(ValueError, match=message):
        opened(config)
    lines: list[str] = []
    rows = opened(dataclasses.replace(config, unequal="fit"), report=lines.append)
    values = sorted(rows.batch(np.arange(3)).series[:, :, 0].tolist())
    assert values == [[0, 1, 2], [3, 4, 0], [5, 6, 7]]
    assert any("2 of 3 series are cut or filled to 3 times" in line for line in lines)
    with pytest.raises(
        ValueError,
        match=r"data\.channels=2 numbers .* it is \[3, 1\].*training with --data\.channels 1",
    ):
        opened(dataclasses.replace(config, channels=2))


def test_a_predictor_says_once_that_series_are_fitted() -> None:
    config = SeriesConfig(sources=("npz:x",), series_length=3, unequal="fit")
    predictor = SeriesPredictor(config, ("a", "b"))
    lines: list[str] = []
    for _ in range(2):
        predictor.batch([Example({"series": np.ones(2)}, "a record")], lines.append)
    assert len(lines) == 1 and "1 of 1 series are cut or filled to 3 times" in lines[0]


def photos(tmp_path: Path, name: str, labels: str) -> str:
    for number, label in enumerate(labels):
        folder = tmp_path / name / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 6, 3), number, np.uint8)).save(folder / f"{number}.png")
    return f"images:{tmp_path / name}"


def test_a_label_that_only_the_test_split_has_is_refused(tmp_path: Path) -> None:
    config = ImagesConfig(
        sources=(photos(tmp_path, "train", "abab"),),
        held_out_sources=(photos(tmp_path, "test", "abc"),),
        cache_dir=str(tmp_path / "cache"),
    )
    with pytest.raises(ValueError, match=r"label 'c' in .*test/c/2\.png must be one of .*a, b"):
        opened(config)


def test_an_image_that_cannot_be_decoded_is_named_before_training(tmp_path: Path) -> None:
    source = photos(tmp_path, "train", "abab")
    bad = tmp_path / "train" / "b" / "3.png"
    bad.write_bytes(bad.read_bytes()[:50])
    config = ImagesConfig(
        sources=(source,), held_out=0.0, image_size=(8, 6), cache_dir=str(tmp_path / "cache")
    )
    with pytest.raises(ValueError, match=rf"^{bad} must be an image that can be decoded"):
        opened(config)
    bad.unlink()
    lines: list[str] = []
    assert opened(config, report=lines.append).num_rows == 3
    opened(config, report=lines.append)
    assert sum("decoding" in line for line in lines) == 1, "remembered"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": ()}, r"data\.sources=\(\).* try --data\.sources images:photos"),
        ({"mean": (0.1, 0.2)}, r"data\.mean=\(0\.1, 0\.2\) must have 1 or 3 numbers"),
        ({"sources": ("images:s3://a/b",)}, r"must be a local folder"),
        ({"sources": (f"text:{__file__}",)}, r"source text is plain text"),
    ],
)
def test_configs_that_cannot_be_meant_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        opened(dataclasses.replace(ImagesConfig(sources=("npz:x",)), **changes))
    with pytest.raises(ValueError, match=r"image_size=\(20, 32\) .*--data\.image-size 32 32"):
        PatchesConfig(sources=("npz:x",), image_size=(20, 32))
