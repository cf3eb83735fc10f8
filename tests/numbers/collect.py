"""The numbers that the command line of a checkout reports, each command a process of its own."""

import json
import math
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from tests.command import SMALL, arguments
from tests.numbers.comparison import flat
from tests.system.test_golden_loss import WORDS

SHORT = (
    f"{' '.join(SMALL)} --data.sources synthetic:400000 --data.tokenizer bytes "
    "--model.vocab-size 257 --train.steps 6 --train.optimizer.learning-rate 3e-3 "
    "--train.optimizer.warmup-steps 2"
)
"""Six steps and an evaluation of a model of any preset's kind, cut down."""
TRAININGS = {
    "golden": f"tiny {' '.join(WORDS)}",
    "packed": f"tiny {SHORT}",
    "unpacked": f"tiny {SHORT} --data.no-packing",
    "accumulation": f"tiny {SHORT} --train.accumulation 2",
    "mesh": f"tiny {SHORT} --mesh.fsdp 2 --mesh.tensor 2",
    "plain attention, remat": f"tiny {SHORT} --model.attention xla --model.remat full",
    "window": f"gpt3-125m {SHORT} --model.window 8",
    "parallel block": f"palm-8b {SHORT} --model.num-kv-heads 1",
    "untied": f"llama3-8b {SHORT} --model.num-kv-heads 1",
    "mup": f"tiny {SHORT} --model.parametrization mup --model.base-width 16 "
    "--model.depth-scaling linear --model.base-depth 1",
    "lion, ema": f"tiny {SHORT} --train.optimizer.name lion --train.optimizer.ema-decay 0.9",
}
SMALLER = (
    "--model.num-layers 2 --model.embed-dim 512 --model.num-heads 4 --model.head-dim 128 "
    "--model.mlp-dim 1024 --model.vocab-size 4096 --data.sequence-length 1024"
)
"""A model that the compiler needs seconds for, where it needs minutes for the preset's."""
COMPILED = {
    "tiny": "--on v5e-1",
    "gpt2-124m": "--on v5e-4 --mesh.fsdp 4 --train.batch-size 32",
    "gpt3-175b": f"{SMALLER} --model.num-kv-heads 4 --on v5p:2x2x2 --mesh.fsdp 4 --mesh.tensor 2 "
    "--model.remat full --train.batch-size 8",
    "palm-8b": f"{SMALLER} --model.num-kv-heads 1 --on v4-8 --mesh.fsdp 4 --train.batch-size 8",
    "llama3-8b": f"{SMALLER} --model.num-kv-heads 2 --on v6e-4 --mesh.fsdp 2 --mesh.tensor 2 "
    "--train.batch-size 8 --train.optimizer.ema-decay 0.9",
    "llama3-1b": f"{SMALLER} --model.num-kv-heads 2 --on 2xv5e-4 --mesh.replica 2 --mesh.fsdp 4 "
    "--train.batch-size 16 --train.accumulation 2 --train.optimizer.name lion",
    "llama3-3b with search": f"{SMALLER} --model.num-kv-heads 2 --on v5e-4 --search "
    "--train.batch-size 4",
}
ARITHMETIC = {
    "tiny": "--on v5e-64",
    "gpt2-124m": "--on h100x64",
    "gpt3-175b": "--on a100x64",
    "palm-8b": "--on v4-128",
    "llama3-8b": "--on v5p-128 --price 4.2",
    "llama3-1b": "--on v6e-64 --train.optimizer.name lion",
}
"""By --elastic, which goes from the fewest chips to the most; it asks no compiler."""


class CollectedCommand(NamedTuple):
    """A command by the name of its numbers, its words, and how its output is read."""

    name: str
    words: str
    read: Callable[[str], Any] = json.loads
    devices: int = 1


def collect(checkout: Path) -> dict[str, Any]:
    """All numbers of a checkout by name, two commands at a time; a line each tells how far it is.

    Raises RuntimeError for a command that fails.
    """
    began, values = time.monotonic(), dict[str, Any]()
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        folder = Path(name)
        _write_table(folder / "runs.csv")
        for commands in _trainings(folder), _others(folder):
            jobs = {pool.submit(_output, checkout, each): each for each in commands}
            for job in as_completed(jobs):
                command = jobs[job]
                values |= flat(command.read(job.result()), command.name)
                print(f"{time.monotonic() - began:4.0f} s  {command.name}", flush=True)
    return values


def _trainings(folder: Path) -> list[CollectedCommand]:
    """Those that train; their records are read of the run directory."""
    commands = []
    for name, words in TRAININGS.items():
        run = _in(folder, name)
        text = f"train {words} --run-dir {run} --data.cache-dir {folder / 'cache'}"
        read = _records_of(run)
        commands.append(
            CollectedCommand(f"train.{name}.records", text, read, 4 if "--mesh" in text else 1)
        )
    return commands


def _in(folder: Path, name: str) -> Path:
    """A folder of that name; words of a command are split at blanks."""
    return folder / name.replace(" ", "-")


def _records_of(run: Path) -> Callable[[str], Any]:
    return lambda _: [json.loads(line) for line in (run / "metrics.jsonl").open()]


def _others(folder: Path) -> list[CollectedCommand]:
    """Those that train nothing, the longest first; some read what was trained."""
    run = folder / "golden"
    return [
        *(
            CollectedCommand(
                f"plan.{name}", f"plan {name.split()[0]} {words} --json --out {_in(folder, name)}"
            )
            for name, words in COMPILED.items()
        ),
        *(
            CollectedCommand(f"plan.{name}.elastic", f"plan {name} {words} --elastic --json")
            for name, words in ARITHMETIC.items()
        ),
        CollectedCommand(
            "ladder fit", f"ladder fit --csv {folder / 'runs.csv'} --flops 1e21 1e22 --json"
        ),
        CollectedCommand("ladder plan", "ladder plan smoke --no-measure", str.splitlines),
        CollectedCommand("presets", "presets --json"),
        CollectedCommand(
            "generate", f"generate {run} --prompt def --tokens 64 --seed 7", str.splitlines
        ),
        CollectedCommand("train.golden.checkpoint", f"checkpoint show {run} --json"),
    ]


def _output(checkout: Path, command: CollectedCommand) -> str:
    """What a command of the checkout prints, on so many virtual devices of this CPU."""
    done = subprocess.run(
        arguments(*command.words.split()),
        cwd=checkout,
        env=_environment(checkout, command.devices),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{command.words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _environment(checkout: Path, devices: int) -> Mapping[str, str]:
    kept = {key: text for key, text in os.environ.items() if not key.startswith(("JAX_", "XLA_"))}
    own = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    return {**kept, **own, "PYTHONPATH": str(checkout), "COLUMNS": "80"}


def _write_table(path: Path) -> None:
    """35 runs of 7 sizes at 5 computes, of the law that Hoffmann et al. 2022 fitted (equation 10),
    with noise of 0.005."""
    chance, lines = random.Random(0), ["params,tokens,loss"]
    for flops in (1e18, 3e18, 1e19, 3e19, 1e20):
        for params in (2.5e7 * 2**power for power in range(7)):
            tokens = flops / (6 * params)
            loss = 1.69 + 406.4 / math.pow(params, 0.34) + 410.7 / math.pow(tokens, 0.28)
            lines.append(f"{params:.0f},{tokens:.0f},{loss + chance.gauss(0, 0.005):.6f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
