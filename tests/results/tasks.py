"""What is learnt of real and constructed data: files, the flags of a run, a trivial baseline."""

import csv
import functools
import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.config import MaskedConfig
from data.rows.masked import open_masked
from data.scores import of_tags
from data.shard import is_held_out
from launch.api import evaluate
from tests.results.arrays import ARRAYS
from tests.results.assets import movie_snippets, tagged_tweets
from tests.results.continued import continued, continued_baseline
from tests.results.help_pages import translation, translation_baseline, translation_measures
from tests.results.molecules import molecules, molecules_baseline, molecules_measures
from tests.results.pronunciations import cmudict, cmudict_baseline, cmudict_measures
from tests.results.reviews import imdb, imdb_baseline
from tests.results.sums import addition, addition_baseline, addition_measures
from tests.results.vocabulary import tokenizer

HELD_OUT = 0.1
MASKED_BATCHES = 64
"""Held-out batches of 16 rows that masked accuracy is of."""


class Task(NamedTuple):
    """A task: its files below a folder, and what a run of it is asked for."""

    prepare: Callable[[Path], tuple[str, ...]]
    """Writes the files into a folder; returns the words after `meshloom train`."""
    baseline: Callable[[Path], Mapping[str, float]]
    """Measures of what learns next to nothing, on the same held-out examples."""
    measures: Callable[[Path, Path], Mapping[str, float]] = lambda run, folder: evaluate(run)[1]
    """Of a run and the task's folder."""


def split(texts: list[str]) -> list[bool]:
    """Which of the texts are held out."""
    return [is_held_out(text.encode(), HELD_OUT) for text in texts]


def masked(folder: Path) -> tuple[str, ...]:
    flags = f"--train.steps 3000 --train.eval-batches {MASKED_BATCHES} --train.eval-every 500"
    return ("tiny-bert", *flags.split())


def masked_measures(run: Path, folder: Path) -> Mapping[str, float]:
    return evaluate(run, batches=MASKED_BATCHES)[1]


def masked_baseline(folder: Path) -> Mapping[str, float]:
    """The commonest byte, and the commonest after the byte before, at the places that are hidden
    of the first `MASKED_BATCHES` of held-out rows."""
    config = MaskedConfig()
    train, held_out = (open_masked(config, s, lambda line: None) for s in ("train", "held_out"))
    pairs = np.zeros((257, 257), np.int64)
    for start in range(0, 20_000, 500):
        windows, _ = train.windows(np.arange(start, start + 500))
        windows = np.where(windows < 0, 256, windows)
        np.add.at(pairs, (windows[:, :-1].ravel(), windows[:, 1:].ravel()), 1)
    commonest, after = int(pairs.sum(0).argmax()), pairs.argmax(1)
    indices = np.arange(min(MASKED_BATCHES * 16, held_out.num_rows))
    batch = held_out.batch(indices)
    windows, _ = held_out.windows(indices)
    shown = np.where(windows[:, :-1] < 0, 256, windows[:, :-1])
    before = np.take_along_axis(shown, np.maximum(batch.places - 1, 0), 1)
    counted = batch.weights > 0
    return {
        "commonest byte": float((batch.targets == commonest)[counted].mean()),
        "bigram table": float((after[before] == batch.targets)[counted].mean()),
    }


def sentiment(folder: Path) -> tuple[str, ...]:
    rows = [(text, "positive" if score > 0 else "negative") for score, text in snippets()]
    for name, kept in splits([text for text, _ in rows]).items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "label"))
            writer.writerows(itertools.compress(rows, kept))
    texts = (text for text, _ in rows)
    train = splits([text for text, _ in rows])["train"]
    vocabulary = tokenizer(folder, itertools.compress(texts, train), 4096)
    flags = (
        f"{vocabulary} --model.head.outputs 2 --data.sequence-length 64 --data.too-long cut "
        "--model.init-std 0.02 --model.dropout 0.3 --train.steps 750 --train.eval-every 150 "
        "--train.optimizer.learning-rate 5e-4"
    )
    return ("tiny-labels", *sources(folder, "csv"), *flags.split())


def snippets() -> list[tuple[float, str]]:
    """Those that most people judge alike."""
    return [(score, text) for score, text in movie_snippets() if abs(score) >= 1]


def sentiment_baseline(folder: Path) -> Mapping[str, float]:
    """Logistic regression of the words of a text, regularized; by Newton-free gradient descent."""
    from scipy.optimize import minimize
    from scipy.sparse import csr_matrix

    rows = [(text.lower().split(), float(score > 0)) for score, text in snippets()]
    kept = split([text for _, text in snippets()])
    train = [row for row, out in zip(rows, kept, strict=True) if not out]
    test = [row for row, out in zip(rows, kept, strict=True) if out]
    numbers = {w: n for n, w in enumerate(sorted({w for words, _ in train for w in words}))}

    def matrix(part: list) -> csr_matrix:
        cells = [
            (row, numbers[word])
            for row, (words, _) in enumerate(part)
            for word in set(words)
            if word in numbers
        ]
        r, c = zip(*cells, strict=True)
        return csr_matrix((np.ones(len(r)), (r, c)), (len(part), len(numbers)))

    X, y = matrix(train), np.array([label for _, label in train])

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        z = X @ w
        gradient = X.T @ (1 / (1 + np.exp(-z)) - y) + w
        return float(np.sum(np.logaddexp(0, z) - y * z) + w @ w / 2), gradient

    w = minimize(loss, np.zeros(len(numbers)), jac=True, method="L-BFGS-B").x
    right = (matrix(test) @ w > 0) == np.array([label for _, label in test])
    return {"words, logistic regression": float(right.mean())}


def entities(folder: Path) -> tuple[str, ...]:
    sentences = tweets()
    texts = [" ".join(word for word, _ in sentence) for sentence in sentences]
    for name, kept in splits(texts).items():
        lines = (
            "".join(f"{word}\t{tag}\n" for word, tag in sentence) + "\n"
            for sentence in itertools.compress(sentences, kept)
        )
        (folder / f"{name}.txt").write_text("".join(lines))
    vocabulary = tokenizer(folder, itertools.compress(texts, splits(texts)["train"]), 4096)
    tags = {tag for sentence in sentences for _, tag in sentence}
    flags = (
        f"{vocabulary} --model.head.outputs {len(tags)} --data.sequence-length 64 "
        "--model.num-layers 2 --model.dropout 0.3 --train.steps 800 "
        f"--data.too-long cut --data.tags {' '.join(sorted(tags))}"
    )
    return ("tiny-tags", *sources(folder, "conll"), *flags.split())


def tweets() -> list[list[tuple[str, str]]]:
    """Sentences of words and tags."""
    sentences: list[list[tuple[str, str]]] = [[]]
    for line in tagged_tweets().splitlines():
        word, _, tag = line.strip().partition("\t")
        if word and tag:
            sentences[-1].append((word, tag.strip()))
        elif sentences[-1]:
            sentences.append([])
    return [sentence for sentence in sentences if sentence]


def entities_baseline(folder: Path) -> Mapping[str, float]:
    """The commonest tag of each word of the training sentences; O for others."""
    sentences = tweets()
    kept = split([" ".join(w for w, _ in s) for s in sentences])
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence, out in zip(sentences, kept, strict=True):
        for word, tag in () if out else sentence:
            counts[word][tag] += 1
    test = [s for s, out in zip(sentences, kept, strict=True) if out]
    said = [[counts[w].most_common(1)[0][0] if w in counts else "O" for w, _ in s] for s in test]
    measures = of_tags(said, [[t for _, t in s] for s in test])
    return {"commonest tag of a word": measures["entity_f1"]}


NAMES = ["Ada", "Bela", "Cora", "Dino", "Emil", "Fay", "Gus", "Hana", "Ivo", "Jana", "Kai", "Lena"]
PLACES = ["Bern", "Cork", "Delft", "Graz", "Hull", "Lund", "Metz", "Nice", "Oslo", "Pisa", "Riga"]
THINGS = ["apples", "books", "chairs", "drums", "eggs", "forks", "guitars", "hats", "lamps", "maps"]
KINDS = ("name", "place", "thing")
TEMPLATES = (
    ("{name} lives in {place}.", "Where does {name} live?", "place"),
    ("{name} sells {thing}.", "What does {name} sell?", "thing"),
    ("The {thing} are made by {name}.", "Who makes the {thing}?", "name"),
)
"""A sentence, a question that it answers, and which word is the answer."""


def answers(folder: Path) -> tuple[str, ...]:
    contexts: list[str] = []
    for name, count, seed in (("train", 20_000, 0), ("test", 500, 1)):
        draw = random.Random(seed)
        records = [constructed(draw) for _ in range(count)]
        text = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(text)
        contexts = contexts or [str(record["context"]) for record in records]
    flags = (
        f"{tokenizer(folder, contexts, 600)} --train.steps 3000 --train.batch-size 64 "
        "--data.sequence-length 48 --data.overlap 8 --model.dropout 0"
    )
    return ("tiny-answers", *sources(folder, "jsonl"), *flags.split())


def constructed(draw: random.Random) -> dict[str, object]:
    """A document of two to five facts about different people, things and places, of one to three
    kinds, and a question on one of them."""
    count = draw.randint(2, 5)
    words = [draw.sample(each, count) for each in (NAMES, PLACES, THINGS)]
    kinds = draw.sample(TEMPLATES, draw.randint(1, len(TEMPLATES)))
    facts = []
    for values in zip(*words, strict=True):
        sentence, question, key = draw.choice(kinds)
        own: dict[str, str] = dict(zip(KINDS, values, strict=True))
        facts.append((sentence.format(**own), question.format(**own), own[key]))
    sentence, question, answer = draw.choice(facts)
    context = " ".join(each for each, _, _ in facts)
    start = context.index(sentence) + sentence.index(answer)
    answers = [{"text": answer, "start": start}]
    return {"question": question, "context": context, "answers": answers}


def answers_baseline(folder: Path) -> Mapping[str, float]:
    """A word of the context drawn from those of the right kind."""
    lines = (folder / "test.jsonl").read_text().splitlines()
    draw, right = random.Random(0), 0
    for record in map(json.loads, lines):
        first = record["question"].split()[0]
        kinds = {"Where": PLACES, "What": THINGS, "Who": NAMES}[first]
        words = [w.strip(".") for w in record["context"].split()]
        right += draw.choice([w for w in words if w in kinds]) == record["answers"][0]["text"]
    return {"a word of the right kind": 100 * right / len(lines)}


def splits(texts: list[str]) -> Mapping[str, list[bool]]:
    held_out = split(texts)
    return {"train": [not out for out in held_out], "test": held_out}


def sources(folder: Path, kind: str) -> tuple[str, ...]:
    ending = {"csv": "csv", "conll": "txt", "jsonl": "jsonl"}[kind]
    train, test = (f"{kind}:{folder / name}.{ending}" for name in ("train", "test"))
    return ("--data.sources", train, "--data.held-out-sources", test)


TASKS = {
    "masked": Task(masked, masked_baseline, masked_measures),
    "sentiment": Task(sentiment, sentiment_baseline),
    "entities": Task(entities, entities_baseline),
    "answers": Task(answers, answers_baseline),
    "continued": Task(continued, continued_baseline),
    "cmudict": Task(cmudict, cmudict_baseline, cmudict_measures),
    "cmudict-long": Task(
        functools.partial(cmudict, steps=16_000, dropout=0.2, smoothing=0.1),
        cmudict_baseline,
        cmudict_measures,
    ),
    "translation": Task(translation, translation_baseline, translation_measures),
    "imdb": Task(imdb, imdb_baseline),
    "addition": Task(addition, addition_baseline, addition_measures),
    "molecules": Task(molecules, molecules_baseline, molecules_measures),
    **{name: Task(*functions) for name, functions in ARRAYS.items()},
}
