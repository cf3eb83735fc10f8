"""What a resumed run continues from; all of it is checked before anything is written."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from data.config import DataKind
from data.errors import UserError
from data.rows.rows import Rows
from launch.config import RunConfig, load_dict, require_resumable, to_dict
from launch.pretrained.checkpoint import Pretrained
from launch.process.distributed import from_first_process
from launch.run import build
from launch.run.begin import TrainedSource, begun, open_source
from launch.run.course import Course
from launch.run.environment import versions
from launch.run.saved import open_run
from train.checkpoint.checkpointer import Checkpointer
from train.checkpoint.manifest import Fault, fault_list
from train.config import TrainConfig
from train.report.record import Place
from train.state import TrainState


class StartingPoint(NamedTuple):
    """Where a run starts: at its beginning, or from a checkpoint."""

    first_batch_size: int
    """Rows a step the run began with: the unit in which its steps are counted."""
    place: Place = Place(step=0, examples=0)
    saved: bool = False
    """Whether it is a checkpoint."""
    changed: tuple[str, ...] = ()
    """Packages whose versions differ from those that wrote it."""
    bad_numbers: Mapping[str, Any] | None = None
    """What `train.bad_numbers.Guard` keeps."""
    course: Course = Course()
    """What was left out of the data before it."""
    source: Pretrained | TrainedSource | None = None
    """The weights of the beginning, if they are not fresh; None where there is a checkpoint."""
    begun_from: Mapping[str, Any] | None = None
    """What those weights were: the spec and the digest."""

    def meta(self) -> dict[str, Any]:
        """What each checkpoint says about the start of its run."""
        source = {} if self.begun_from is None else {"start_from": dict(self.begun_from)}
        return {"first_batch_size": self.first_batch_size, **source, **self.course.meta()}

    def end(self, train: TrainConfig) -> int:
        """Rows of the whole run."""
        return train.steps * self.first_batch_size

    def last_step(self, train: TrainConfig) -> int:
        """The step at which the run ends."""
        left = self.end(train) - self.place.examples
        return self.place.step + max(0, -(-left // train.batch_size))


def require_steps(config: RunConfig, start: StartingPoint) -> None:
    """Raise ValueError if the run has made more steps than the config asks for, or if none is left
    at which its profile could start."""
    train, place = config.train, start.place
    if start.end(train) - place.examples <= -train.batch_size:
        steps = -(-place.examples // start.first_batch_size)
        raise UserError(
            f"train.steps={train.steps} must be at least {steps}, because the run has seen the "
            f"rows of that many already; try --train.steps {2 * steps}"
        )
    last = start.last_step(train)
    if config.profile is None or place.step <= config.profile[0] < last:
        return
    profile = f"profile={config.profile[0]} {config.profile[1]}"
    if last == place.step:
        raise UserError(
            f"{profile} must be left out, because the run has finished its {train.steps} steps; "
            "try without --profile"
        )
    raise UserError(
        f"{profile} must start between step {place.step} and {last - 1}, because only those run; "
        f"try --profile {place.step} {place.step + 3}"
    )


def beginning(config: RunConfig) -> StartingPoint:
    """Where a run starts that has no checkpoint; ValueError as `launch.run.begin.open_source`."""
    source = open_source(config)
    begun_from = None if source is None else {"spec": config.start_from, "digest": source.digest}
    return StartingPoint(config.train.batch_size, source=source, begun_from=begun_from)


def latest(
    checkpointer: Checkpointer, config: RunConfig, rows: Rows, say: Callable[[str], None]
) -> StartingPoint:
    """The newest good checkpoint, or the beginning if the run ended before its first one.

    Its files are verified before anything is read. Newer ones that are damaged are set aside, and
    `say` reports so. Raises ValueError if there are checkpoints but no good one, or if it was
    written with other data; then nothing is changed.
    """
    step, bad = _newest_good(checkpointer, say)
    if step is None:
        return beginning(config)
    meta = checkpointer.read_meta(step)
    require_rows(rows, config.data, meta, f"step {step} of {checkpointer.directory}")
    for other, faults in bad.items():
        aside = checkpointer.set_aside(other, faults)
        say(f"step {other} is damaged ({fault_list(faults)}) and set aside as {aside.name}")
    now = versions()
    changed = tuple(
        f"{package} {version} -> {now.get(package, 'none')}"
        for package, version in meta["versions"].items()
        if now.get(package) != version
    )
    return StartingPoint(
        meta["first_batch_size"],
        Place(step=step, examples=meta["examples_seen"]),
        saved=True,
        changed=changed,
        bad_numbers=meta.get("bad_numbers"),
        course=Course(skipped=meta.get("skipped", ()), rollbacks=meta.get("rollbacks", 0)),
        begun_from=meta.get("start_from"),
    )


def _newest_good(
    checkpointer: Checkpointer, say: Callable[[str], None]
) -> tuple[int | None, dict[int, list[Fault]]]:
    """The newest step whose files are as they were written, None if no step was ever finished; and
    the faults of newer ones."""
    directory = checkpointer.directory

    def listed() -> str:
        items = [(item.step, item.kind) for item in checkpointer.folder.items()]
        return json.dumps(items) if directory.is_dir() else ""

    if not (text := from_first_process(listed)):
        raise UserError(
            f"checkpoints={directory} must exist, because the run created it when it began and "
            "continues from what it contains; try bringing it back, or --overwrite to start again"
        )
    items = json.loads(text)
    bad: dict[int, list[Fault]] = {}
    for step in sorted((step for step, kind in items if kind == "step"), reverse=True):
        began = time.monotonic()
        if not (faults := checkpointer.faults(step)):
            say(f"checkpoint of step {step} verified in {time.monotonic() - began:.1f} s")
            return step, bad
        bad[step] = faults
    faulty = [f"step {step}: {fault_list(faults)}" for step, faults in bad.items()]
    faulty += [f"step {step} was set aside" for step, kind in items if kind == "bad"]
    if not faulty:
        return None, bad
    raise UserError(
        f"checkpoints={directory} must contain a good checkpoint, because the run continues from "
        f"it, but {'; '.join(faulty)}; try --overwrite to start again, or put back a copy"
    )


def initial_state(
    start: StartingPoint,
    fresh: Callable[[], TrainState],
    checkpointer: Checkpointer,
    train: TrainConfig,
    say: Callable[[str], None],
) -> TrainState:
    """The state to start with: fresh, with other weights if the run begins with those, or as the
    checkpoint has it."""
    if not start.saved:
        state = build.make_fresh_state(fresh)
        return state if start.source is None else begun(state, start.source, say)
    state = checkpointer.restore(jax.eval_shape(fresh), start.place.step)
    say(f"resuming from step {start.place.step}, after {start.place.examples:,} rows")
    if start.changed:
        say(f"not bit-equal, because versions changed: {', '.join(start.changed)}")
    last = start.last_step(train)
    if start.first_batch_size != train.batch_size:
        say(
            f"length and schedule stay counted in steps of {start.first_batch_size} rows, the "
            f"first batch size: --train.steps {train.steps} ends at step {last}"
        )
    if last == start.place.step:
        say("nothing is left to train, as all its steps are done; try a larger --train.steps")
    return state


def require_same_run(run_dir: Path, config: RunConfig) -> None:
    """Raise ValueError if there is no run, or `config` is not one that continues it.

    All but the rows is compared here, before they are opened, which may take hours.
    """
    run = open_run(run_dir, config)
    if run.directory.has_begun():
        require_resumable(load_dict(run.directory.config), config)
        run.require_tokenizer(config.data.load_tokenizer(), config.data)


def require_rows(rows: Rows, data: DataKind, meta: Mapping[str, Any], who: str) -> None:
    """Raise ValueError if `rows`, of that config, are not those on which `who`, with that meta,
    was trained."""
    digest = meta["data_digest"]
    if rows.digest == digest:
        return
    before, now = meta["config"]["data"], to_dict(data.absolute())
    changed = [
        f"data.{name}: was {before.get(name, 'absent')}, now {value}"
        for name, value in now.items()
        if name not in ("cache_dir", "lost_characters") and before.get(name, "absent") != value
    ]
    why = "the text, or the version that makes rows of it, has changed: all settings are the same"
    if changed:
        why = "these differ:\n  " + "\n  ".join(changed)
    raise UserError(
        f"data digest={rows.digest[:16]} must be {digest[:16]}, because {who} was trained on those "
        f"rows, but {why}\n"
        "try the text it was trained on, by --data.sources if that is elsewhere now, or a new run"
    )


def require_same_rows(rows: Rows) -> None:
    """Raise ValueError on every process if they do not all have the same data."""
    if jax.process_count() == 1:
        return
    own = np.frombuffer(bytes.fromhex(rows.digest), np.uint8)
    digests = [bytes(row).hex()[:16] for row in multihost_utils.process_allgather(own)]
    if len(set(digests)) > 1:
        raise UserError(
            f"data digests={', '.join(digests)} of the processes must be equal, because they read "
            "parts of the same rows; try the same files and the same Python on every host, or a "
            "--data.cache-dir that they share"
        )
