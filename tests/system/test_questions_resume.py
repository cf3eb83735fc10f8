"""Every question: a run that is killed goes on bit by bit, with the rows and draws that it had."""

import csv
import dataclasses
import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.arrays_config import PatchesConfig
from launch.config import RunConfig, save
from tests.command import meshloom
from tests.images import TAGS
from train.config import TrainConfig

STEPS = "--train.steps 30 --train.checkpoint.every-steps 5 --train.eval-every 0"
STACK = "--model.num-layers 1 --model.embed-dim 32"
TEXTS = f"{STACK} --data.sequence-length 32"
HEADS = "--model.num-heads 2 --model.head-dim 16 --model.mlp-dim 64"
STAGE = (
    "--model.depths 1 --model.channels 8 --model.strides 2 --model.kernels 3 --model.expansions 1 "
    "--model.groups 4 --model.dropout 0.2"
)
SIZES = {
    "tiny-lstm": f"{TEXTS} --model.hidden-dim 32 --model.dropout 0.2",
    "tiny-gru": f"{TEXTS} --model.hidden-dim 32 --model.dropout 0.2",
    "tiny-vit": f"{STACK} {HEADS}",
    "tiny-photos": f"{STAGE} --model.stem-channels 8",
    "tiny-series": STAGE,
    "--config": "",
}
"""By the beginning of what is trained; of others `TEXTS` and `HEADS`."""
PAIRS = "--data.sources csv:HERE/pairs.csv --data.source-field text --data.target-field pair"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with examples of every kind."""
    folder = tmp_path_factory.mktemp("resumed")
    draw = random.Random(0)
    names = [draw.choice(["Ann", "Bob"]) for _ in range(90)]
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = [(f"{name} {n}", name) for n, name in enumerate(names)]
        csv.writer(file).writerows([("text", "label"), *rows])
    with (folder / "pairs.csv").open("w", newline="") as file:
        rows = [(f"{name} {n}", f"{n} {name}") for n, name in enumerate(names)]
        csv.writer(file).writerows([("text", "pair"), *rows])
    tags = "".join(f"{name} B-PER\n{n} O\n\n" for n, name in enumerate(names))
    (folder / "tags.txt").write_text(tags)
    answers = [
        {"question": "who?", "context": f"{n} is {name}.", "answers": [name]}
        for n, name in enumerate(names)
    ]
    (folder / "answers.jsonl").write_text("".join(f"{json.dumps(a)}\n" for a in answers))
    numbers = np.random.default_rng(0)
    images = numbers.integers(0, 256, (90, 8, 12)).astype(np.uint8)
    classes = np.arange(90) % 2
    np.savez(folder / "images.npz", image=images, label=classes, map=images % 3)
    np.savez(folder / "series.npz", series=numbers.normal(size=(90, 20)), label=classes)
    for number in range(40):
        photo = folder / "photos" / "ab"[number % 2] / f"{number}.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 256, (20, 24, 3)).astype(np.uint8)).save(photo)
    data = PatchesConfig(
        sources=(f"npz:{folder}/images.npz",),
        image_size=(8, 12),
        channels=1,
        patch_size=4,
        crop="resized",
        flip=True,
    )
    model = dataclasses.replace(TAGS, channels=1)
    train = TrainConfig(steps=30, batch_size=8)
    save(RunConfig(preset="patches", model=model, data=data, train=train), folder / "patches.yaml")
    return folder


@pytest.mark.long
@pytest.mark.parametrize(
    ("preset", "flags"),
    [
        ("tiny-bert", "--data.sources synthetic:60000 --data.held-out 0.2 --model.dropout 0.1"),
        ("tiny-labels", "--data.sources csv:HERE/labels.csv"),
        ("tiny-tags", "--data.sources conll:HERE/tags.txt --model.head.outputs 2"),
        ("tiny-answers", "--data.sources jsonl:HERE/answers.jsonl --data.overlap 4"),
        ("tiny-embedding", "--data.sources csv:HERE/pairs.csv"),
        ("tiny-t5", f"{PAIRS} --model.dropout 0.1 --train.label-smoothing 0.1"),
        (
            "tiny-t5-spans",
            "--data.sources synthetic:60000 --data.held-out 0.2 --model.dropout 0.1",
        ),
        ("tiny-gru", "--data.sources synthetic:60000 --data.held-out 0.2"),
        ("tiny-lstm-labels", "--data.sources csv:HERE/labels.csv"),
        ("tiny-lstm-tags", "--data.sources conll:HERE/tags.txt --model.head.outputs 2"),
        ("tiny-lstm-pairs", PAIRS),
        (
            "tiny-vit",
            "--data.sources npz:HERE/images.npz --data.image-size 8 12 --model.image-size 8 12 "
            "--data.mixup 0.4 --model.dropout 0.2 --model.head.outputs 2",
        ),
        (
            "tiny-photos",
            "--data.sources images:HERE/photos --data.image-size 16 16 --model.head.outputs 2",
        ),
        (
            "tiny-series",
            "--data.sources npz:HERE/series.npz --data.series-length 20 --model.head.outputs 2",
        ),
        ("--config", "HERE/patches.yaml"),
    ],
)
@pytest.mark.usefixtures("optimized")
def test_a_killed_run_is_bit_equal(here: Path, preset: str, flags: str, tmp_path: Path) -> None:
    sizes = next((s for name, s in SIZES.items() if preset.startswith(name)), f"{TEXTS} {HEADS}")
    words = f"{preset} {flags} {sizes} {STEPS} --train.batch-size 8 --data.cache-dir HERE/cache"
    said = meshloom(
        *("verify-resume", "--kills", "2", "--folder", str(tmp_path / "proof")),
        *words.replace("HERE", str(here)).split(),
    ).stdout
    assert "losses:  30 of 30 bit-equal" in said and "resume is exact" in said
