"""The command as a user runs it: a process of its own, at a size that trains in seconds."""

import functools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tests.warm import SOCKET

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parent.parent
SMALL = (
    "--model.num-layers 2 --model.embed-dim 32 --model.num-heads 2 --model.num-kv-heads 2 "
    "--model.head-dim 16 --model.mlp-dim 64 --data.sequence-length 32 --train.batch-size 8 "
    "--train.eval-batches 2 --train.log-every 1 --sample 0 --no-tensorboard"
).split()
FORTY = (
    "--train.steps 40 --train.checkpoint.every-steps 10 "
    "--train.eval-every 2 --train.eval-batches 40"
).split()
"""Evaluations, which change nothing, leave the time to stop a run between two steps."""
TRAIN = "import sys; from launch.cli import program; program(['train', *sys.argv[1:]])"
COMPILED_QUICKLY = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
"""Variables of tests."""
if version("jaxlib").startswith("0.10."):
    # It takes 45 % off the time of compiling a small step; later versions end at a flag they lack.
    COMPILED_QUICKLY["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"


def compile_as_users_do(patch: "pytest.MonkeyPatch") -> None:
    """Programs of processes that are started from now on: for golden numbers, and for bits."""
    for name in COMPILED_QUICKLY:
        patch.delenv(name, raising=False)


WARM = [sys.executable, "-IS", str(ROOT / "tests" / "warm.py")]
"""The beginning of a command line that runs to its end in a process forked from a warm one, with
the variables of `warm`."""


def arguments(*words: str) -> list[str]:
    """Command line of `meshloom WORDS`, by this interpreter."""
    return [sys.executable, "-m", "launch", *words]


@functools.cache
def _server() -> "subprocess.Popen[str]":
    """The process that imports once for all commands of this one, and ends with it."""
    socket_path = Path(tempfile.mkdtemp(prefix="warm-")) / "socket"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", "serve", str(socket_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None and server.stdout.readline() == "ready\n"
    os.environ[SOCKET] = str(socket_path)
    return server


def warm() -> dict[str, str]:
    """The variables for WARM, whose server runs from here on."""
    _server()
    return os.environ | {"PYTHONPATH": str(ROOT)}


def meshloom(*words: str, expect: int = 0, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `meshloom WORDS` in a directory to its end; its exit code must be `expect`."""
    result = subprocess.run(
        [*WARM, *words],
        cwd=cwd,
        env=warm(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == expect, (
        f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    )
    return result


def train_until(step: int, *words: str) -> None:
    """Run `meshloom train WORDS` and kill it with signal 9 once it has logged `step`."""
    with subprocess.Popen(
        [*WARM, "train", *words], cwd=ROOT, env=warm(), stdout=subprocess.PIPE, text=True
    ) as process:
        lines_until(re.compile(rf"\s*{step}/"), process)
        process.kill()
        assert process.stdout is not None
        process.stdout.read()  # to the death of the process that trains, by which it is closed
    assert process.returncode == -9, "it ended before it was killed"


def started(*words: str, code: str = TRAIN, **environment: str) -> subprocess.Popen[str]:
    """`meshloom train WORDS` as a process; `code` may change things first."""
    return subprocess.Popen(
        [*WARM, "train", *words] if code == TRAIN else [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env=warm() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_until(pattern: re.Pattern[str], process: subprocess.Popen[str]) -> None:
    """Read what it prints until a line begins so."""
    assert process.stdout is not None
    for line in process.stdout:
        if pattern.match(line):
            return
    raise AssertionError(f"it ended first\n{process.communicate()[1]}")


def job(run: Path, *words: str, code: str = TRAIN) -> list[subprocess.Popen[str]]:
    """The two processes of a job that trains."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{probe.getsockname()[1]}"
    return [
        started(
            *words,
            "--run-dir",
            str(run),
            code=code,
            JAX_COORDINATOR_ADDRESS=coordinator,
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(index),
        )
        for index in range(2)
    ]


def records(run: Path) -> list[dict]:
    """The training records of a run directory."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [r for r in map(json.loads, lines) if "loss" in r]
