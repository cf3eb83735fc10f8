"""What a resumed run goes on from; all of it is checked before anything is written."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from data import system
from data.config import DataKind
from data.errors import UserError
from data.rows.rows import Rows
from launch.config import RunConfig, require_resumable, to_dict
from launch.process.distributed import from_first_process
from launch.run.course import Course
from launch.run.directory import RunDirectory
from launch.run.environment import environment
from launch.run.saved import open_run, require_tokenizer
from launch.run.signing import signing_key
from train.checkpoint.checkpointer import Checkpointer
from train.checkpoint.manifest import Fault, told
from train.report.record import Place


class Found(NamedTuple):
    """The checkpoint a run goes on from."""

    place: Place
    first_batch_size: int
    """Rows a step the run began with: the unit in which its steps are counted."""
    changed: list[str]
    """Packages whose versions differ from those that wrote it."""
    bad_numbers: Mapping[str, Any] | None
    """What `train.bad_numbers.Guard` keeps."""
    course: Course
    """What was left out of the data before it."""


def find(
    run_dir: Path,
    config: RunConfig,
    rows: Rows,
    say: Callable[[str], None] = print,
    checkpointer: Checkpointer | None = None,
) -> Found | None:
    """The newest good checkpoint, or None if the run ended before its first one.

    Its files are verified before anything is read. Newer ones that are damaged are set aside, and
    `say` tells so. Raises ValueError if there are checkpoints but no good one, or if it was written
    under settings or data that must match and do not; then nothing is changed. Who has a
    `checkpointer` that writes there gives it, as it must know what was set aside.
    """
    directory = RunDirectory(path=system.local_path("run_dir", run_dir)).checkpoints
    if checkpointer is None:
        checkpointer = Checkpointer(directory, config.train.checkpoint, key=signing_key())
    if not from_first_process(lambda: "yes" if directory.is_dir() else ""):
        raise UserError(
            f"checkpoints={directory} must be there, because the run made it when it began and "
            "goes on from what it holds; try bringing it back, or --overwrite to begin again"
        )
    step, bad = newest_good(checkpointer, say)
    if step is None:
        return None
    meta = checkpointer.read_meta(step)
    require_resumable(meta["config"], config)
    who = f"step {step} of {directory}"
    require_tokenizer(rows.tokenizer, config.data, meta, who)
    require_rows(rows, config.data, meta, who)
    for other, faults in bad.items():
        aside = checkpointer.set_aside(other, faults)
        say(f"step {other} is damaged ({told(faults)}) and set aside as {aside.name}")
    now = environment()["versions"]
    changed = [
        f"{package} {version} -> {now.get(package, 'none')}"
        for package, version in meta["versions"].items()
        if now.get(package) != version
    ]
    place = Place(step=step, examples=meta["examples_seen"])
    course = Course(skipped=meta.get("skipped", ()), rollbacks=meta.get("rollbacks", 0))
    return Found(place, meta["first_batch_size"], changed, meta.get("bad_numbers"), course)


def newest_good(
    checkpointer: Checkpointer, say: Callable[[str], None]
) -> tuple[int | None, dict[int, list[Fault]]]:
    """The newest step whose files are as they were written, and the faults of newer ones.

    None if no step was ever finished; ValueError if there are some, and none is good.
    """
    items = json.loads(from_first_process(lambda: json.dumps(_numbered(checkpointer))))
    bad: dict[int, list[Fault]] = {}
    for step in sorted(items["step"], reverse=True):
        began = time.monotonic()
        if not (faults := checkpointer.faults(step)):
            seconds = time.monotonic() - began
            say(f"checkpoint of step {step} verified in {seconds:.1f} s")
            return step, bad
        bad[step] = faults
    if not bad and not items["bad"]:
        return None, bad
    found = [f"step {step}: {told(faults)}" for step, faults in bad.items()]
    found += [f"step {step} was set aside" for step in items["bad"]]
    raise UserError(
        f"checkpoints={checkpointer.directory} must hold a good checkpoint, because the run goes "
        f"on from it, but {'; '.join(found)}; try --overwrite to begin again, or put back a copy"
    )


def _numbered(checkpointer: Checkpointer) -> dict[str, list[int]]:
    items = checkpointer.folder.items()
    return {kind: [item.step for item in items if item.kind == kind] for kind in ("step", "bad")}


def require_same_run(run_dir: Path, config: RunConfig) -> None:
    """Raise ValueError if the run there was trained by another config or tokenizer: known at once,
    while the rows may first have to be made."""
    run = open_run(run_dir, config)
    if run.meta:
        require_resumable(run.meta["config"], config)
        run.require_tokenizer(config.data.load_tokenizer(), config.data)


def require_rows(rows: Rows, data: DataKind, meta: Mapping[str, Any], who: str) -> None:
    """Raise ValueError if `rows`, of that config, are not those that `who`, of that meta, was
    trained on."""
    digest = meta["data_digest"]
    if rows.digest == digest:
        return
    before, now = meta["config"]["data"], to_dict(data.absolute())
    changed = [
        f"data.{name}: was {before.get(name, 'absent')}, now {value}"
        for name, value in now.items()
        if name not in ("cache_dir", "lost_characters") and before.get(name, "absent") != value
    ]
    why = "its text, or the version that makes rows of it, is another: all settings are the same"
    if changed:
        why = "these differ:\n  " + "\n  ".join(changed)
    raise UserError(
        f"data digest={rows.digest[:16]} must be {digest[:16]}, because {who} was trained on those "
        f"rows, but {why}\n"
        "try the text it was trained on, by --data.sources if it lies elsewhere now, or a new run"
    )


def require_same_rows(rows: Rows) -> None:
    """Raise ValueError on every process if they did not all find the same data."""
    if jax.process_count() == 1:
        return
    own = np.frombuffer(bytes.fromhex(rows.digest), np.uint8)
    found = [bytes(row).hex()[:16] for row in multihost_utils.process_allgather(own)]
    if len(set(found)) > 1:
        raise UserError(
            f"data digests={', '.join(found)} of the processes must be equal, because they read "
            "parts of the same rows; try the same files and the same Python on every host, or a "
            "--data.cache-dir that they share"
        )
