"""Addition of numbers of up to three digits, learnt by a recurrent encoder-decoder."""

import json
import random
from collections.abc import Mapping
from pathlib import Path

from launch.api import generate

TRAIN, TEST = 300_000, 1000


def pairs() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Different pairs of numbers, to learn and for the test, of which no pair is learnt in either
    order."""
    draw = random.Random(0)
    every = [divmod(number, 1000) for number in draw.sample(range(1_000_000), TEST + TRAIN)]
    test = every[:TEST]
    mirrored = {(b, a) for a, b in test}
    return [pair for pair in every[TEST:] if pair not in mirrored], test


def addition(folder: Path) -> tuple[str, ...]:
    for name, part in zip(("train", "test"), pairs(), strict=True):
        records = ({"source": f"{a}+{b}", "target": str(a + b)} for a, b in part)
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in records))
    flags = (
        f"--data.sources jsonl:{folder}/train.jsonl "
        f"--data.held-out-sources jsonl:{folder}/test.jsonl "
        "--data.sequence-length 64 --data.target-length 40 "
        "--model.embed-dim 256 --model.hidden-dim 256 --train.batch-size 32 --train.steps 8000 "
        "--train.optimizer.learning-rate 2e-3 --train.optimizer.warmup-steps 200 "
        "--train.eval-every 500 --train.checkpoint.every-steps 500"
    )
    return ("tiny-lstm-pairs", *flags.split())


def addition_measures(run: Path, folder: Path) -> Mapping[str, float]:
    """Share of the sums of the test that are written right, digit by digit."""
    _, test = pairs()
    said = generate(run, [f"{a}+{b}" for a, b in test], tokens=6, temperature=0.0)
    right = sum(text == str(a + b) for text, (a, b) in zip(said, test, strict=True))
    return {"right": right / TEST}


def addition_baseline(folder: Path) -> Mapping[str, float]:
    """Sums without carrying."""
    right, (_, test) = 0, pairs()
    for a, b in test:
        digits = zip(map(int, f"{a:03}"), map(int, f"{b:03}"), strict=True)
        right += all(x + y < 10 for x, y in digits)
    return {"without carrying": right / TEST}
