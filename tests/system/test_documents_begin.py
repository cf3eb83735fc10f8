"""Where a document begins, in training and in use: a model of documents that all begin alike."""

import json
import random
from pathlib import Path

import pytest

from tests.command import SMALL, meshloom, records
from tests.vocabularies import byte_fallback

STEPS = (
    "--train.steps 300 --train.optimizer.learning-rate 1e-2 --train.optimizer.warmup-steps 10 "
    "--train.eval-batches 0 --train.log-every 100"
).split()


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("questions")
    chance = random.Random(0)
    pairs = [(chance.randrange(10), chance.randrange(10)) for _ in range(1500)]
    texts = [f"Q: {a}+{b} A: {a + b}." for a, b in pairs]
    path = folder / "qa.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tokenizer = byte_fallback(folder / "framed.json", ("<s>",))
    source = ["--data.sources", f"jsonl:{path}", "--data.cache-dir", str(folder / "cache")]
    return [*source, "--data.tokenizer", str(tokenizer), "--model.vocab-size", "360"]


@pytest.mark.parametrize("packing", ["packing", "no-packing"])
def test_samples_begin_as_documents_do(words: list[str], tmp_path: Path, packing: str) -> None:
    run = str(tmp_path / "run")
    said = meshloom(
        "train", "tiny", *SMALL, *words, *STEPS, f"--data.{packing}", "--run-dir", run
    ).stdout
    assert (
        "documents begin with <s> (1, by its template) and end with </s> (2, by its name)" in said
    )
    assert records(Path(run))[-1]["loss"] < 1.5
    sampled = "--samples 40 --tokens 5 --temperature 1".split()
    out = meshloom("generate", run, *sampled).stdout
    assert out.count("\nQ: ") >= 38
    if packing == "packing":
        # The space between prompt and continuation is of neither alone.
        out = meshloom("generate", run, "--prompt", "Q: 2+3 A:", "--temperature", "0").stdout
        assert out.startswith("Q: 2+3 A: ")
