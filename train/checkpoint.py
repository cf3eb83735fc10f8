"""Checkpoints: written in the background, one commit of state and meta, read back onto any mesh.

Orbax is imported here alone, at the first save or restore, by its classic interface: the newer
`orbax.checkpoint.v1` is a layer over it, still declared unstable, and no faster.
"""

import json
import logging
import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import jax
from etils import epath
from jax.experimental import multihost_utils

from train.checkpoint_policy import Due, Retention
from train.checkpoint_tree import differences, named_leaves, nested, placed
from train.config import CheckpointConfig

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

State = TypeVar("State")
Meta = dict[str, Any]

PARTS = (
    "commit_success.txt",
    "_CHECKPOINT_METADATA",
    "meta/metadata",
    "state/_METADATA",
    "state/manifest.ocdbt",
)
"""Files of every committed step; the first is written last, and deleted first."""


class Checkpointer:
    """The checkpoints of one run, `directory/<step>`. Every process makes the same calls."""

    def __init__(self, directory: epath.PathLike, config: CheckpointConfig) -> None:
        self.directory = epath.Path(directory)
        if not self.directory.is_absolute() and "://" not in str(directory):
            raise ValueError(
                f"checkpoints={directory} must be absolute, because they are written by threads "
                f"and processes of their own; try {self.directory.absolute()}"
            )
        self._config = config
        self._due = Due(config)
        self._asked = (-1, False)
        self._manager: ocp.CheckpointManager | None = None
        self._saving: int | None = None
        # Orbax tells of a failed write only to who waits for it; so one thread does.
        self._waiter = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._losses: dict[int, float] = {}

    def steps(self) -> list[int]:
        """Steps that can be restored, in order; half-written and half-deleted ones are left out."""
        return [step for step in self._numbers() if self._is_whole(step)]

    def latest_step(self) -> int | None:
        """The newest step that can be restored, None if there is none."""
        return max(self.steps(), default=None)

    def read_meta(self, step: int | None = None) -> Meta:
        """The JSON saved with the state of `step` (default: the latest); no array is read."""
        step = self._existing(step)
        try:
            return json.loads((self._path(step) / "meta" / "metadata").read_text())
        except (OSError, ValueError) as error:
            raise self._unreadable(step, error) from error

    def is_due(self, step: int) -> bool:
        """Whether `save` would save `step` unforced; ValueError if the last save has failed."""
        if self._writing is not None and self._writing.done():
            self.wait()
        if step != self._asked[0]:
            self._asked = (step, self._due.at(step, time.monotonic()))
        return self._asked[1]

    def save(
        self,
        step: int,
        state: object,
        meta: Meta,
        *,
        metrics: dict[str, float] | None = None,
        force: bool = False,
    ) -> bool:
        """Start to save if `step` is due (or `force`d) and not saved yet; tell whether it started.

        Returns when the arrays are copied. The files follow in the background; what goes wrong
        there is a ValueError of the next `save`, `wait` or `close`. To be called after every step.
        `metrics` are kept in the meta; `keep_best` goes by their `eval_loss`.
        """
        if not (self.is_due(step) or force) or step == self._saving:
            return False
        self.wait()
        self._saving = step
        try:
            manager = self._open()
            if step in self.steps():
                return False
            import orbax.checkpoint as ocp

            plain = {name: float(value) for name, value in (metrics or {}).items()}
            if "eval_loss" in plain:
                self._losses[step] = plain["eval_loss"]
            args = ocp.args.Composite(
                state=ocp.args.PyTreeSave(nested(named_leaves(state))),
                meta=ocp.args.JsonSave({**meta, "metrics": plain}),
            )
            manager.save(step, args=args, force=True)
            self._writing = self._waiter.submit(manager.wait_until_finished)
        except Exception as error:
            raise self._unwritable(error) from error
        self._due.restart(step, time.monotonic())
        return True

    def restore(self, abstract_state: State, step: int | None = None) -> State:
        """Read the state of `step` (default: the latest) into the shapes and shardings given.

        The leaves of `abstract_state` are ShapeDtypeStructs, as `jax.eval_shape` makes them; they
        are laid out on the current mesh by their specs, and replicated if they have none. A field
        without leaves, say `optimizer=None`, is not read. ValueError if names, shapes or types
        differ from the checkpoint's, or it cannot be read.
        """
        import orbax.checkpoint as ocp

        step = self._existing(step)
        path = self._path(step) / "state"
        wanted = {name: placed(leaf) for name, leaf in named_leaves(abstract_state).items()}
        fields = {name.partition("/")[0] for name in wanted}
        handler = ocp.PyTreeCheckpointHandler()
        try:
            stored = named_leaves(handler.metadata(path).tree)
        except Exception as error:
            raise self._unreadable(step, error) from error
        found = {name: leaf for name, leaf in stored.items() if name.partition("/")[0] in fields}
        if differ := differences(wanted, found):
            raise ValueError(
                f"checkpoint={self._path(step)} must hold a state of this model, because names and "
                f"shapes tell where its arrays belong, but {differ}; try the config it came from"
            )
        target = nested(wanted)
        args = ocp.args.PyTreeRestore(
            target,
            restore_args=ocp.checkpoint_utils.construct_restore_args(target),
            partial_restore=len(found) < len(stored),
        )
        try:
            with ocp.Checkpointer(handler) as reader:
                leaves = named_leaves(reader.restore(path, args=args))
        except Exception as error:
            raise self._unreadable(step, error) from error
        structure = jax.tree.structure(abstract_state)
        return jax.tree.unflatten(structure, [leaves[name] for name in wanted])

    def wait(self) -> None:
        """Return when all that was saved is on disk; ValueError if it could not be written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                writing.result()
            except Exception as error:
                raise self._unwritable(error) from error

    def close(self) -> None:
        """`wait`, then let go of threads; even if the wait raises."""
        try:
            self.wait()
        finally:
            manager, self._manager = self._manager, None
            self._waiter.shutdown()
            if manager is not None:
                self._close(manager)

    def _close(self, manager: "ocp.CheckpointManager") -> None:
        """Orbax raises a failed save once more when it closes."""
        try:
            manager.close()
        except Exception as error:
            raise self._unwritable(error) from error

    def _path(self, step: int) -> epath.Path:
        return self.directory / str(step)

    def _numbers(self) -> list[int]:
        if not self.directory.is_dir():
            return []
        return sorted(int(p.name) for p in self.directory.iterdir() if p.name.isdecimal())

    def _is_whole(self, step: int) -> bool:
        return all((self._path(step) / part).exists() for part in PARTS)

    def _open(self) -> "ocp.CheckpointManager":
        """Orbax's manager; made at the first save, so that who only reads changes no file."""
        if self._manager is not None:
            return self._manager
        import orbax.checkpoint as ocp

        # Orbax logs a failed save once from each of its threads and tasks, with traceback; we
        # raise it.
        logging.getLogger("absl").addFilter(_is_not_orbax_error)
        logging.getLogger("asyncio").addFilter(_was_retrieved)
        whole = self.steps()
        for step in whole:
            loss = self.read_meta(step).get("metrics", {}).get("eval_loss")
            if loss is not None:
                self._losses[step] = loss
        if jax.process_index() == 0:
            # Orbax would count them among the latest. Older ones it deletes with the next save.
            for step in self._numbers():
                if step not in whole and step > max(whole, default=-1):
                    self._path(step).rename(self.directory / f"{step}.incomplete")
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("checkpoint leftovers are out of the way")
        options = ocp.CheckpointManagerOptions(
            cleanup_tmp_directories=True,
            preservation_policy=Retention(self._config, self._losses),
            # With threads, Orbax deletes the marker and a step's other files before its arrays.
            num_deletion_threads=4,
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)
        return self._manager

    def _existing(self, step: int | None) -> int:
        steps = self.steps()
        if steps and (step is None or step in steps):
            return steps[-1] if step is None else step
        wanted = "a checkpoint" if step is None else f"a complete checkpoint of step {step}"
        offer = f"step {' or '.join(map(str, steps))}" if steps else "the directory of a run"
        raise ValueError(
            f"checkpoints={self.directory} must hold {wanted}, because the state is read from it; "
            f"try {offer}"
        )

    def _unwritable(self, error: Exception) -> ValueError:
        last, cause = self.latest_step(), _cause(error)
        good = "there is no good one" if last is None else f"step {last} is the last good one"
        full = "No space left" in cause
        return ValueError(
            f"checkpoints={self.directory} must {'have room' if full else 'be writable'}, because "
            f"saving step {self._saving} failed: {cause} ({good}); "
            f"try {'freeing space' if full else 'removing the cause'}, then again with --resume"
        )

    def _unreadable(self, step: int, error: Exception) -> ValueError:
        earlier = [other for other in self.steps() if other < step]
        offer = f"moving it away to use step {earlier[-1]}" if earlier else "another run"
        return ValueError(
            f"checkpoint={self._path(step)} must be readable, because the state comes from it, "
            f"but: {_cause(error)}; try {offer}"
        )


def _is_not_orbax_error(record: logging.LogRecord) -> bool:
    return not (record.levelno == logging.ERROR and "orbax" in record.pathname)


def _was_retrieved(record: logging.LogRecord) -> bool:
    return "exception was never retrieved" not in record.getMessage()


def _cause(error: Exception) -> str:
    """What the operating system said, else the first line of what Orbax says."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    text = str(error).strip() or type(error).__name__
    said = re.search(r"([^:]+) \[os_error_code", text)
    return said[1].strip() if said else text.splitlines()[0][:300]
