"""The folder of a run's checkpoints: what its names mean, and how they change.

20           a checkpoint: complete, and on the disk
20.saving    one that is being written, or was when its process was killed
20.deleting  one that is being deleted, or was
20.bad       one that was found damaged and set aside, with REASON.json

A name is changed by one rename, so that whatever is called 20 is whole at every instant. Here is
also which checkpoints are kept. Imports no jax.
"""

import json
import math
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from data import durable
from data.errors import UserError
from train.checkpoint.manifest import MANIFEST, Fault
from train.config import CheckpointConfig

META = "meta.json"
REASON = "REASON.json"
Kind = Literal["step", "saving", "deleting", "bad"]

_NAME = re.compile(r"(0|[1-9]\d*)(?:\.(saving|deleting|bad)(?:-\d+)?)?")


class Item(NamedTuple):
    """One entry of the folder."""

    step: int
    kind: Kind
    path: Path


class CheckpointFolder:
    """The entries of `path` that are checkpoints, whole or not."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def of(self, step: int) -> Path:
        """Where the checkpoint of `step` is, or would be."""
        return self.path / str(step)

    def items(self) -> list[Item]:
        """All entries, by step; files of others are left out."""
        if not self.path.is_dir():
            return []
        entries = [(path, _NAME.fullmatch(path.name)) for path in self.path.iterdir()]
        return sorted(
            Item(int(name[1]), cast(Kind, name[2] or "step"), path)
            for path, name in entries
            if name
        )

    def steps(self) -> list[int]:
        """Steps whose manifest stands, in order."""
        return [
            item.step
            for item in self.items()
            if item.kind == "step" and (item.path / MANIFEST).is_file()
        ]

    def meta(self, step: int) -> dict[str, Any]:
        """The JSON that was saved with `step`. Raises OSError and ValueError."""
        path = self.of(step) / META
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no plain file")
        return json.loads(path.read_text(encoding="utf-8"))

    def prepare(self) -> None:
        """Create the folder, delete what killed processes left half written or half deleted, and
        set aside what is called a step but has no manifest; only a process about to write may."""
        self.path.mkdir(parents=True, exist_ok=True)
        durable.sync(self.path.parent)
        for item in self.items():
            if item.kind == "saving":
                shutil.rmtree(item.path)
            elif item.kind == "deleting":
                shutil.rmtree(item.path, ignore_errors=True)
            elif item.kind == "step" and not (item.path / MANIFEST).is_file():
                self.set_aside(item.step, [Fault(MANIFEST, "missing")])

    def begin(self, step: int) -> Path:
        """An empty folder to write `step` into."""
        path = self.saving(step)
        if path.exists():
            shutil.rmtree(path)
        path.mkdir()
        return path

    def saving(self, step: int) -> Path:
        """Where `step` is while it is written."""
        return self.path / f"{step}.saving"

    def publish(self, step: int) -> None:
        """Give the finished checkpoint its name."""
        self.saving(step).rename(self.of(step))
        durable.sync(self.path)

    def delete(self, step: int) -> None:
        """Delete a checkpoint; killed at any instant, it leaves nothing that looks whole."""
        doomed = self.path / f"{step}.deleting"
        try:
            self.of(step).rename(doomed)
        except FileNotFoundError:
            return
        durable.sync(self.path)
        # Files that a reader has open stay on NFS; the next process to write here deletes them.
        shutil.rmtree(doomed, ignore_errors=True)

    def set_aside(self, step: int, faults: Sequence[Fault]) -> Path:
        """Rename a checkpoint that must not be used, with a file that says why; return where."""
        reason = {
            "step": step,
            "set_aside": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "faults": [fault._asdict() for fault in faults],
        }
        durable.write(self.of(step) / REASON, json.dumps(reason, indent=1) + "\n")
        number = 1
        while (aside := self.path / f"{step}.bad{f'-{number}' if number > 1 else ''}").exists():
            number += 1
        self.of(step).rename(aside)
        durable.sync(self.path)
        return aside


def kept_steps(
    steps: Iterable[int], losses: Mapping[int, float], config: CheckpointConfig
) -> set[int]:
    """The steps that stay: the latest, `at_steps`, multiples of `keep_every`, the best by loss."""
    steps = sorted(steps)
    keep = set(steps[-config.keep_latest :]) | set(steps) & set(config.at_steps)
    if config.keep_every is not None:
        keep |= {step for step in steps if step % config.keep_every == 0}
    rated = [step for step in steps if not math.isnan(losses.get(step, math.nan))]
    return keep | set(sorted(rated, key=lambda step: losses[step])[: config.keep_best])
