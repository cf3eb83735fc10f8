"""Every question: a run that is killed goes on bit by bit, with the rows and draws that it had."""

import csv
import json
import random
from pathlib import Path

import pytest

from tests.command import meshloom

SIZES = (
    "--model.num-layers 1 --model.embed-dim 32 --model.num-heads 2 --model.head-dim 16 "
    "--model.mlp-dim 64 --data.sequence-length 32 --train.batch-size 8 --train.steps 30 "
    "--train.checkpoint.every-steps 5 --train.eval-every 0"
).split()


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
        (
            "tiny-t5",
            "--data.sources csv:HERE/pairs.csv --data.source-field text --data.target-field pair",
        ),
    ],
)
@pytest.mark.usefixtures("optimized")
def test_a_killed_run_is_bit_equal(here: Path, preset: str, flags: str, tmp_path: Path) -> None:
    words = flags.replace("HERE", str(here)).split()
    said = meshloom(
        *("verify-resume", "--kills", "2", "--folder", str(tmp_path / "proof")),
        *(preset, *SIZES, *words, "--data.cache-dir", str(here / "cache")),
    ).stdout
    assert "losses:  30 of 30 bit-equal" in said and "resume is exact" in said
