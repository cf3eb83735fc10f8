"""Runs of the campaign: undisturbed ones to compare with, and those that are harmed."""

import hashlib
import importlib.metadata
import json
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from data.cache import locked
from tests.soak.job import (
    FLAGS,
    PRESET,
    ROOT,
    Layout,
    SoakJob,
    began_at,
    difference,
    newest_checkpoint,
)

Outcome = dict[str, float | int | str]
"""`wrong`: what did not hold, empty if all did; next to it what was measured."""


class Injection(NamedTuple):
    tries: int
    do: Callable[[Path, random.Random], Outcome]
    """Called with an empty folder and the try's own random numbers."""
    holds: str
    """What must hold."""


def straight(layout: Layout, *words: str) -> tuple[Path, float]:
    """An undisturbed run with these flags, recorded once for this code, and its seconds."""
    name = "-".join(["straight", f"{layout.processes}x{layout.devices}", code_digest()[:12]])
    name += "".join(f"-{word.lstrip('-')}" for word in words)
    folder = ROOT / ".cache" / "soak" / name
    seconds_file = folder / "seconds.json"
    with locked(folder.with_suffix(".lock"), lambda _: None):
        if not seconds_file.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name in ("warm-up", "run"):
                job = start(layout, folder / name, folder / f"{name}.txt", *words)
                if job.wait() != 0:
                    raise RuntimeError(f"the undisturbed run failed; see {job.output}")
                seconds = time.monotonic() - job.began
            seconds_file.write_text(json.dumps(seconds))
    return folder / "run", json.loads(seconds_file.read_text())


def code_digest() -> str:
    """SHA-256 of what bits depend on: our code, flags, JAX, and Python with its library."""
    digest = hashlib.sha256(" ".join((PRESET, *FLAGS)).encode())
    digest.update(f"{sys.version} {importlib.metadata.version('jaxlib')}".encode())
    for room in ("model", "data", "train", "launch"):
        for path in sorted((ROOT / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def start(layout: Layout, run: Path, output: Path, *words: str, **variables: str) -> SoakJob:
    """Start a run, or resume it if its directory is there already."""
    here = (run / "config.yaml").exists()
    first = ["--run-dir", str(run), "--resume"] if here else [PRESET, "--run-dir", str(run)]
    devices = {"JAX_NUM_CPU_DEVICES": str(layout.devices)}
    return SoakJob(layout.command("train", *first, *FLAGS, *words), output, **devices | variables)


def finish(layout: Layout, run: Path, output: Path) -> str:
    """Go on from the newest checkpoint to the end, bit-equal to the undisturbed run: then empty."""
    stood = newest_checkpoint(run)
    code = start(layout, run, output).wait()
    if code != 0:
        return f"resume ended with {code}"
    begun = began_at(output.read_text(errors="replace"))
    if begun != stood:
        return f"went on from step {begun}, though {stood} stood"
    return difference(run, straight(layout)[0])
