"""The command as a user runs it: a process of its own, at a size that trains in seconds."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMALL = (
    "--model.num-layers 2 --model.embed-dim 32 --model.num-heads 2 --model.num-kv-heads 2 "
    "--model.head-dim 16 --model.mlp-dim 64 --data.sequence-length 32 --train.batch-size 8 "
    "--train.eval-batches 2 --train.log-every 1 --no-tensorboard"
).split()


def arguments(*words: str) -> list[str]:
    """Command line of `meshloom WORDS`, by this interpreter."""
    return [sys.executable, "-m", "launch", *words]


def meshloom(*words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `meshloom WORDS` to its end; its exit code must be `expect`."""
    result = subprocess.run(
        arguments(*words), cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == expect, (
        f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    )
    return result


def train_until(step: int, *words: str) -> None:
    """Run `meshloom train WORDS` and kill it with signal 9 once it has logged `step`."""
    with subprocess.Popen(
        arguments("train", *words), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split("/")[0].strip() == str(step):
                process.kill()
                break
    assert process.returncode == -9, "it ended before it was killed"


def records(run: Path) -> list[dict]:
    """The training records of a run directory."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [r for r in map(json.loads, lines) if "loss" in r]
