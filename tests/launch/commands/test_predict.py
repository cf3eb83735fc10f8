"""Labels, tags, answers and embeddings: trained by the command, and asked by the command."""

import csv
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from tests.command import meshloom

SIZES = (
    "--model.num-layers 1 --model.embed-dim 32 --model.num-heads 2 --model.head-dim 16 "
    "--model.mlp-dim 64 --train.batch-size 8 --train.eval-every 0 --no-tensorboard "
    "--train.checkpoint.every-steps 10 --train.optimizer.warmup-steps 2 "
    "--train.optimizer.learning-rate 2e-2 --model.dropout 0"
).split()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    draw = random.Random(0)
    words = {"up": ["good", "fine"], "down": ["bad", "poor"]}
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for _ in range(100):
            label = draw.choice(list(words))
            writer.writerow((f"{draw.choice(words[label])} {draw.randrange(100)}", label))
    lines = []
    for number in range(60):
        name = draw.choice(["Ann", "Bob"])
        lines.append(f"{name} B-PER\nran O\n{number} O\n\n")
    (folder / "tags.txt").write_text("".join(lines))
    answers = [
        {
            "question": "who?",
            "context": f"{n} was {('Ann', 'Bob')[n % 2]}.",
            "answers": [("Ann", "Bob")[n % 2]],
        }
        for n in range(60)
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(a) + "\n" for a in answers))
    pairs = [f"{n} and,and {n}" for n in range(60)]
    (folder / "pairs.csv").write_text("\n".join(["text,pair", *pairs]) + "\n")
    return folder


def trained(here: Path, preset: str, source: str, steps: int, *flags: str) -> str:
    run = here / preset
    return meshloom(
        *("train", preset, *SIZES, "--run-dir", str(run), "--data.sources", source),
        *("--data.cache-dir", str(here / "cache"), "--train.steps", str(steps), *flags),
    ).stdout


def test_labels(here: Path) -> None:
    said = trained(
        here, "tiny-labels", f"csv:{here}/labels.csv", 40, "--data.sequence-length", "16"
    )
    assert "labels: " in said and "accuracy " in said and "confusion: " in said
    run = here / "tiny-labels"
    assert (run / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    out = meshloom("predict", str(run), "--text", "good 1", "--text", "bad 2").stdout
    first, second = out.splitlines()
    assert first.startswith("label up,") and first.endswith("  good 1")
    assert second.startswith("label down,")
    written = here / "said.csv"
    source = f"csv:{here}/labels.csv"
    assert (
        "wrote 100 predictions"
        in meshloom("predict", str(run), "--source", source, "--output", str(written)).stderr
    )
    rows = list(csv.DictReader(written.read_text().splitlines()))
    shares = [float(rows[0][f"probability of {name}"]) for name in ("down", "up")]
    assert len(rows) == 100 and sum(shares) == pytest.approx(1)
    assert "accuracy 1.0000" in meshloom("evaluate", str(run)).stdout

    page = here / "why.html"
    out = meshloom("explain", str(run), "--text", "good 1", "--output", str(page)).stdout
    assert "label up: score " in out and "Attention of each layer" in page.read_text()
    off = float(out.split("off by ")[1].split("%")[0])
    assert off < 0.5
    picture = here / "why.png"
    meshloom("explain", str(run), "--text", "good 1", "--output", str(picture))
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_tags(here: Path) -> None:
    said = trained(
        here,
        "tiny-tags",
        f"conll:{here}/tags.txt",
        40,
        *("--model.head.outputs", "2", "--data.sequence-length", "16"),
    )
    assert "entity f1 1.0000" in said and "[Ann B-PER] ran " in said
    out = meshloom("predict", str(here / "tiny-tags"), "--text", "Bob ran 7").stdout
    assert out == "[Bob B-PER] ran 7\n"


def test_answers(here: Path) -> None:
    flags = ("--data.sequence-length", "32", "--data.overlap", "4")
    said = trained(here, "tiny-answers", f"jsonl:{here}/answers.jsonl", 60, *flags)
    assert "exact match " in said
    out = meshloom(
        *("predict", str(here / "tiny-answers"), "--text", "who?", "--text", "70 was Bob.")
    ).stdout
    assert "Bob  (characters 7 to 10)" in out


def test_embeddings(here: Path) -> None:
    said = trained(
        here, "tiny-embedding", f"csv:{here}/pairs.csv", 10, "--data.sequence-length", "16"
    )
    assert "nearest " in said
    path = here / "vectors.npy"
    texts = ("--text", "1 and", "--text", "and 1")
    out = meshloom("embed", str(here / "tiny-embedding"), *texts, "--output", str(path)).stdout
    assert out == f"wrote 2 embeddings of 32 numbers to {path}\n"
    np.testing.assert_allclose(np.linalg.norm(np.load(path), axis=1), 1, rtol=1e-5)


def test_what_a_family_cannot_do_is_refused(here: Path, tmp_path: Path) -> None:
    short = ("--data.sequence-length", "32", "--data.held-out", "0.2")
    trained(here, "tiny-bert", "synthetic:60000", 2, *short)
    run = str(here / "tiny-bert")
    error = meshloom("generate", run, expect=1).stderr
    assert "must be of a model that writes text" in error
    error = meshloom("predict", run, "--text", "a", expect=1).stderr
    assert "text 1 must hold [MASK] or <mask>, because the model fills in what is hidden" in error
    error = meshloom("predict", run, "--text", "[MASK]" * 32, expect=1).stderr
    assert "text 1 must have at most 31 tokens" in error and "but it has 32" in error
    out = meshloom("predict", run, "--text", "a[MASK]c<mask>").stdout
    first, one, two = out.splitlines()
    assert re.fullmatch("a.c.", first) and one.startswith("  mask 1: ") and "mask 2: " in two
    error = meshloom("explain", run, "--text", "a", expect=1).stderr
    assert "must be of a model that labels texts or goes on with them" in error
    error = meshloom(
        *("train", "tiny-labels", *SIZES, "--data.sources", f"csv:{here}/labels.csv"),
        *("--model.head.outputs", "3", "--data.sequence-length", "16"),
        *("--run-dir", str(tmp_path / "run")),
        expect=1,
    ).stderr
    assert "model.head.outputs=3 must be 2, because the data have so many: down, up; try" in error
    assert not (tmp_path / "run").exists()
