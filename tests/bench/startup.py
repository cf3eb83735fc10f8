"""Seconds from the start of the process `meshloom train` to its first finished step."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.baseline import BaselineSizes
from tests.bench.reference import model_config
from tests.command import ROOT

BARS = {"cold": 10.0, "warm": 6.0}


def measure(sizes: BaselineSizes, folder: Path) -> dict[str, object]:
    """With an empty compilation cache and with the one that run left; tokens are stored before."""
    cache = folder / "cache"
    _first_step(sizes, cache, folder / "tokens")
    shutil.rmtree(cache / "xla")
    seconds = {name: _first_step(sizes, cache, folder / name) for name in BARS}
    return {"seconds": seconds, "bars": BARS}


def _first_step(sizes: BaselineSizes, cache: Path, run_dir: Path) -> float:
    command = [sys.executable, "-m", "launch", "train", "tiny", "--run-dir", str(run_dir)]
    command += ["--data.cache-dir", str(cache), "--data.sources", "synthetic:2000000"]
    command += ["--data.sequence-length", str(sizes.length)]
    command += ["--train.steps", "1", "--train.batch-size", str(sizes.batch)]
    command += ["--train.eval-batches", "0", *model_flags(sizes)]
    began = time.time()
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with (run_dir / "metrics.jsonl").open(encoding="utf-8") as file:
        return round(json.loads(file.readline())["time"] - began, 2)


def model_flags(sizes: BaselineSizes) -> list[str]:
    """Flags that turn the preset `tiny` into the reference architecture."""
    model = model_config(sizes)
    fields = "vocab_size num_layers embed_dim num_heads num_kv_heads head_dim mlp_dim max_length"
    fields += " vocab_multiple norm positions activation"
    flags = []
    for field in fields.split():
        flags += [f"--model.{field.replace('_', '-')}", str(getattr(model, field))]
    return [*flags, "--model.no-gated", "--model.bias", "--model.no-tied-embedding"]
