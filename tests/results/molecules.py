"""Molecules as SMILES (MOSES, Polykovskiy et al. 2020), written by a recurrent language model and
judged by RDKit, which is installed into an environment of its own."""

import csv
import gzip
import io
import json
import random
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from launch.api import generate
from tests.results.assets import archive

MOSES, RDKIT = "molsets==0.3.1", "rdkit==2026.9.1"
TRAIN, SAMPLES, LONGEST = 300_000, 1000, 60
JUDGE = """
import json, sys
from rdkit import Chem, RDLogger
RDLogger.DisableLog("rdApp.*")
read = [Chem.MolFromSmiles(text) if text else None for text in json.load(sys.stdin)]
print(json.dumps([Chem.MolToSmiles(each) if each else None for each in read]))
"""


def training() -> list[str]:
    """The first of the training molecules, in an order that is drawn."""
    with zipfile.ZipFile(archive(MOSES)) as wheel:
        content = gzip.decompress(wheel.read("moses/dataset/data/train.csv.gz")).decode()
    every = [row["SMILES"] for row in csv.DictReader(io.StringIO(content))]
    return random.Random(0).sample(every, TRAIN)


def molecules(folder: Path) -> tuple[str, ...]:
    path = folder / "train.jsonl"
    if not path.exists():
        path.write_text("".join(f"{json.dumps({'text': each})}\n" for each in training()))
    flags = (
        f"--data.sources jsonl:{path} --data.sequence-length 256 --model.embed-dim 256 "
        "--model.hidden-dim 256 --train.batch-size 16 --train.steps 4500 --train.eval-every 500 "
        "--train.eval-batches 32 --train.checkpoint.every-steps 100 "
        "--train.optimizer.learning-rate 3e-3 --train.optimizer.warmup-steps 200 --sample 0"
    )
    return ("tiny-lstm", *flags.split())


def molecules_measures(run: Path, folder: Path) -> Mapping[str, float]:
    """Of texts that are drawn, how many are molecules; of these, how many differ, and how many are
    not among those learnt."""
    said = generate(run, [""] * SAMPLES, tokens=LONGEST, temperature=1.0)
    (folder / f"{run.name}.json").write_text(json.dumps(said))
    return judged(folder, said)


def molecules_baseline(folder: Path) -> Mapping[str, float]:
    """Texts drawn by the three characters before each."""
    after: dict[str, list[str]] = defaultdict(list)
    for text in training()[:50_000]:
        padded = f"^^^{text}$"
        for place in range(3, len(padded)):
            after[padded[place - 3 : place]].append(padded[place])
    draw, said = random.Random(0), []
    for _ in range(SAMPLES):
        text = "^^^"
        while text[-1] != "$" and len(text) < LONGEST:
            text += draw.choice(after[text[-3:]])
        said.append(text.strip("^$"))
    return {f"by three characters, {name}": value for name, value in judged(folder, said).items()}


def judged(folder: Path, said: Sequence[str]) -> Mapping[str, float]:
    """Shares of texts that are molecules, and of these by their canonical forms."""
    path = folder / "canonical.json"
    if not path.exists():
        path.write_text(json.dumps(canonical(folder, training())))
    known = set(json.loads(path.read_text()))
    valid = [each for each in canonical(folder, said) if each]
    return {
        "valid": len(valid) / len(said),
        "unique": len(set(valid)) / max(1, len(valid)),
        "novel": len(set(valid) - known) / max(1, len(set(valid))),
    }


def canonical(folder: Path, said: Sequence[str]) -> list[str | None]:
    """RDKit's form of each text; None of what is no molecule."""
    environment = folder / "rdkit"
    python = environment / "bin" / "python"
    if not (environment / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", RDKIT], check=True)
        (environment / "ready").touch()
    own = subprocess.run(
        [str(python), "-c", JUDGE],
        input=json.dumps(said),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(own.stdout)
