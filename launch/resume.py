"""What a resumed run goes on from; all of it is checked before anything is written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from data.pipeline import Rows
from launch.config import RunConfig, require_resumable
from launch.distributed import from_first_process
from launch.run_directory import RunDirectory, environment
from train.checkpoint import Checkpointer
from train.record import Place


class Found(NamedTuple):
    """The checkpoint a run goes on from."""

    place: Place
    first_batch_size: int
    """Rows a step the run began with: the unit in which its steps are counted."""
    changed: list[str]
    """Packages whose versions differ from those that wrote it."""
    bad_numbers: Mapping[str, Any] | None
    """What `train.bad_numbers.Guard` keeps."""


def find(run_dir: Path, config: RunConfig, rows: Rows) -> Found | None:
    """The latest checkpoint as process 0 sees it, or None if the run ended before its first one.

    Raises ValueError if it was written under settings or data that must match and do not.
    """
    directory = RunDirectory(path=run_dir.expanduser().absolute()).checkpoints
    checkpointer = Checkpointer(directory, config.train.checkpoint)
    latest = from_first_process(lambda: str(checkpointer.latest_step() or ""))
    if not latest:
        return None
    step = int(latest)
    meta = checkpointer.read_meta(step)
    require_resumable(meta["config"], config)
    require_rows(rows, meta["data_digest"], f"step {step} of {directory}")
    now = environment()["versions"]
    changed = [
        f"{package} {version} -> {now.get(package, 'none')}"
        for package, version in meta["versions"].items()
        if now.get(package) != version
    ]
    place = Place(step=step, examples=meta["examples_seen"])
    return Found(place, meta["first_batch_size"], changed, meta.get("bad_numbers"))


def require_rows(rows: Rows, digest: str, who: str) -> None:
    """Raise ValueError if `rows` are not those that `who` was trained on."""
    if rows.digest != digest:
        raise ValueError(
            f"data digest={rows.digest[:16]} must be {digest[:16]}, because {who} was trained on "
            "those rows; try the files, tokenizer and --data settings it was made with, "
            "or a new run"
        )


def require_same_rows(rows: Rows) -> None:
    """Raise ValueError on every process if they did not all find the same data."""
    if jax.process_count() == 1:
        return
    own = np.frombuffer(bytes.fromhex(rows.digest), np.uint8)
    found = [bytes(row).hex()[:16] for row in multihost_utils.process_allgather(own)]
    if len(set(found)) > 1:
        raise ValueError(
            f"data digests={', '.join(found)} of the processes must be equal, because they read "
            "parts of the same rows; try the same files and the same Python on every host, or a "
            "--data.cache-dir that they share"
        )
