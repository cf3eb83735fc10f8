"""TFDS data sets by name and by record."""

import importlib
import io
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import constants

from data.arrays_config import ImagesConfig
from data.sources.array_record import divide_records, files_of
from data.sources.source import Unreadable
from data.sources.tfds import Tfds, prepare_named


class WeatherNotes(tfds.core.GeneratorBasedBuilder):
    """A data set as a user has it."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        features = tfds.features.FeaturesDict(
            {"note": text, "rain": tfds.features.Scalar(np.int32)}
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {
            "train": self._generate_examples(),
            "test": iter([(0, {"note": "night", "rain": 1})]),
        }

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        for i in range(20):
            yield i, {"note": f"day {i} \u00e4", "rain": i}
        yield 20, {"note": b"\xe4", "rain": 0}


class SmallPhotos(tfds.core.GeneratorBasedBuilder):
    """Images as bytes of PNG, which need no TensorFlow, with a label."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["dark", "light"]),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        for number in range(4):
            content = io.BytesIO()
            Image.fromarray(np.full((6, 8, 3), 60 * number, np.uint8)).save(content, "png")
            yield number, {"image": content.getvalue(), "label": number // 2}


class NeedsTensorflow(WeatherNotes):
    """Reads its originals with TensorFlow."""

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        import tensorflow  # pyright: ignore[reportMissingModuleSource]

        yield 0, {"note": tensorflow.io.read_file("note"), "rain": 0}


class NeedsAPackage(WeatherNotes):
    """Reads its originals with another package."""

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        importlib.import_module("a_missing_package")
        yield from super()._generate_examples()


class NeedsNetwork(WeatherNotes):
    """Cannot download."""

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        raise ConnectionError("no network")


SET = Tfds("tfds:weather_notes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        # What TFDS_DATA_DIR sets when TFDS is imported.
        patch.setattr(constants, "DATA_DIR", str(tmp_path_factory.mktemp("tfds")))
        return prepare_named("weather_notes")


def test_records_come_once_and_a_bad_record_is_named(folder: str) -> None:
    (piece,) = divide_records(folder)
    assert (piece.start, piece.stop) == (0, 21)
    texts = []
    with pytest.raises(Unreadable, match=r"record \d+ is not UTF-8 at its byte 0"):
        for text, _, place in SET.read(piece, "note"):
            assert place == len(texts)
            texts.append(text)
    assert set(texts) <= {f"day {i} \u00e4" for i in range(20)}
    assert any(Path(file).name == "features.json" for file in files_of(folder, "train"))


def test_another_split_has_files_and_records_of_its_own(folder: str) -> None:
    source = Tfds("tfds:weather_notes@test")
    (piece,) = divide_records(folder, source.split)
    assert [document.text for document in source.read(piece, "note")] == ["night"]
    train, test = (set(files_of(folder, split)) for split in ("train", "test"))
    assert {Path(file).name.split(".")[0] for file in train ^ test} == {
        "weather_notes-train",
        "weather_notes-test",
    }
    with pytest.raises(Unreadable, match="no split 'validation' but t"):
        divide_records(folder, "validation")


def test_wrong_fields(folder: str) -> None:
    (piece,) = divide_records(folder)
    with pytest.raises(Unreadable, match="record 0 has no field 'text' but note, rain") as raised:
        next(SET.read(piece, "text"))
    assert raised.value.texts == ["note"]
    with pytest.raises(Unreadable, match=r"field 'rain' of record 0 is .*, no text"):
        next(SET.read(piece, "rain"))


def test_images_have_their_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path))
    config = ImagesConfig(
        sources=("tfds:small_photos",),
        image_size=(6, 8),
        held_out=0.0,
        mean=(0.0,),
        std=(1.0,),
        cache_dir=str(tmp_path / "cache"),
    )
    rows: Any = config.open_rows("train", report=lambda line: None)
    batch = rows.batch(np.arange(4))
    assert rows.labels == ("dark", "light")
    brightness = np.round(batch.images * 255 / 60)
    np.testing.assert_array_equal(
        brightness, np.broadcast_to(brightness[:, :1, :1, :1], (4, 6, 8, 3))
    )
    numbers = brightness[:, 0, 0, 0].astype(int)
    assert sorted(numbers.tolist()) == [0, 1, 2, 3]
    np.testing.assert_array_equal(batch.targets, numbers // 2)


def test_a_misspelt_name_gets_the_nearest(tmp_path: Path) -> None:
    message = (
        r"data\.sources='tfds:imbd_reviews' must name a TFDS data set.* try 'tfds:imdb_reviews'"
    )
    with pytest.raises(ValueError, match=message):
        prepare_named("imbd_reviews")


def test_other_formats_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path))
    folder = Path(prepare_named("weather_notes"))
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    message = r"must be stored as array_record, .* pip install -e '\.\[tensorflow\]'"
    with pytest.raises(ValueError, match=message):
        prepare_named("weather_notes")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("needs_tensorflow", r"must .* needs tensorflow, .* pip install -e '\.\[tensorflow\]'"),
        (
            "needs_a_package",
            r"must .* needs a_missing_package, .* try pip install a_missing_package,",
        ),
        ("needs_network", r"must be prepared once .* that failed \(.*no network\); try again"),
    ],
)
def test_what_cannot_be_prepared_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=rf"data\.sources='tfds:{name}' {message}"):
        prepare_named(name)


def test_a_disk_that_fills_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
    try:
        with pytest.raises(ValueError, match=r"must be prepared once .*File too large"):
            prepare_named("weather_notes")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Path(prepare_named("weather_notes")).is_dir()


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "*train.array_record*"])
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_damage_is_named(folder: str, tmp_path: Path, name: str, damage: str) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "weather_notes" / "1.0.0"))
    (file,) = copied.glob(name)
    content = file.read_bytes()
    harmed = {"empty": b"", "cut": content[: len(content) // 2], "noise": b"\xff" * len(content)}
    file.write_bytes(harmed[damage])
    with pytest.raises(Unreadable, match=r"damaged|no whole TFDS|no split|no text|not UTF"):
        for piece in divide_records(str(copied)):
            assert len(list(SET.read(piece, "note"))) < 0
