"""Checkpoints: written in the background, one commit of state and meta, read back onto any mesh.

`arrays` writes the arrays; here are the manifest, the name, and which checkpoints are kept.
"""

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import numpy as np

from data.errors import UserError
from train.checkpoint import arrays, manifest
from train.checkpoint.folder import META, CheckpointFolder, kept_steps
from train.checkpoint.manifest import Fault, Form, Manifest
from train.checkpoint.policy import Due
from train.checkpoint.tree import differences, named_leaves, placed
from train.config import CheckpointConfig
from train.processes import decided, is_first

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

State = TypeVar("State")
Meta = dict[str, Any]
STATE = "state"


class Checkpointer:
    """The checkpoints of one run, `directory/<step>`. Every process makes the same calls.

    With a `key` manifests are signed, and those that are not signed with it refused.
    """

    def __init__(
        self, directory: Path | str, config: CheckpointConfig, *, key: bytes | None = None
    ) -> None:
        self.directory = Path(directory)
        if not self.directory.is_absolute():
            raise UserError(
                f"checkpoints={directory} must be absolute, because they are written by threads "
                f"and processes of their own; try {self.directory.absolute()}"
            )
        self.folder = CheckpointFolder(self.directory)
        self._config, self._key = config, key
        self._due = Due(config)
        self._asked = (-1, False)
        self._writer: ocp.AsyncCheckpointer | None = None
        self._saving: int | None = None
        self._began = 0.0
        self._has_failed = False
        # Orbax reports a failed write only to whoever waits for it; so one thread does.
        self._waiter = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._losses: dict[int, float] = {}
        """Evaluation loss of each step that stands, NaN if it was not evaluated."""

    def steps(self) -> list[int]:
        """Steps whose manifest stands, in order; half-written and half-deleted ones do not."""
        return self.folder.steps()

    def latest_step(self) -> int | None:
        """The newest of `steps`, None if there is none."""
        return max(self.steps(), default=None)

    def read_meta(self, step: int | None = None) -> Meta:
        """The JSON saved with the state of `step` (default: the latest); no array is read."""
        step = self._existing(step)
        try:
            return self.folder.meta(step)
        except (OSError, ValueError) as error:
            raise self._unreadable(step, error) from error

    def faults(self, step: int) -> list[Fault]:
        """What is wrong with the files of `step`, as `config.verify` says how; empty if nothing.

        The processes share the work and all return the same.
        """
        damage = manifest.check(
            self.folder.of(step),
            # A signature covers the checksums alone.
            sizes_only=self._config.verify == "sizes" and self._key is None,
            key=self._key,
            share=(jax.process_index(), jax.process_count()),
        )
        words = decided("verify", lambda words: f"[{','.join(words)}]", json.dumps(damage))
        return sorted({Fault(*fault) for word in json.loads(words) for fault in word})

    def set_aside(self, step: int, faults: list[Fault]) -> Path:
        """Rename a checkpoint that must not be used, with a file that says why; return where."""
        self._losses.pop(step, None)
        self._saving = None
        return Path(decided("aside", lambda _: str(self.folder.set_aside(step, faults))))

    def is_due(self, step: int) -> bool:
        """Whether `save` would save `step` unforced; ValueError if the last save has failed."""
        if self._writing is not None and self._writing.done():
            self.wait()
        if step != self._asked[0]:
            self._asked = (step, self._due.at(step, time.monotonic()))
        return self._asked[1]

    @property
    def saving_since(self) -> float | None:
        """When the save began that is being written now, by `time.monotonic`; None if none is."""
        writing = self._writing
        return None if writing is None or writing.done() else self._began

    def save(
        self,
        step: int,
        state: object,
        meta: Meta,
        *,
        metrics: dict[str, float] | None = None,
        force: bool = False,
    ) -> bool:
        """Start to save if `step` is due (or `force`d) and not saved yet; return whether it did.

        Returns when the arrays are copied. The files follow in the background; what goes wrong
        there the next `save`, `wait` or `close` raises: a ValueError, or JAX's own error.
        `metrics` are kept in the meta; `keep_best` goes by their `eval_loss`.
        """
        if not (self.is_due(step) or force) or step == self._saving:
            return False
        self.wait()
        self._saving, self._began = step, time.monotonic()
        with self._to_disk():
            writer = self._open()
            if step in self._losses:
                return False
            leaves = named_leaves(state)
            plain = {name: float(value) for name, value in (metrics or {}).items()}
            text = json.dumps({**meta, "metrics": plain}, indent=1) + "\n"
            forms = {n: (np.dtype(x.dtype).name, tuple(x.shape)) for n, x in leaves.items()}
            if is_first():
                (self.folder.begin(step) / META).write_text(text, encoding="utf-8")
            arrays.save(writer, self.folder.saving(step) / STATE, leaves)
            loss = plain.get("eval_loss", math.nan)
            self._writing = self._waiter.submit(self._finish, step, forms, loss)
        self._due.restart(step, time.monotonic())
        return True

    def restore(self, abstract_state: State, step: int | None = None) -> State:
        """Read the state of `step` (default: the latest) into the shapes and shardings given.

        The leaves of `abstract_state` are ShapeDtypeStructs, as `jax.eval_shape` makes them; they
        are laid out on the current mesh by their specs, and replicated if they have none. A field
        without leaves, say `optimizer=None`, is not read. ValueError if names, shapes or types
        differ from the checkpoint's, or it cannot be read. It trusts the files: ask for `faults`.
        """
        step = self._existing(step)
        path = self.folder.of(step)
        wanted = {name: placed(leaf) for name, leaf in named_leaves(abstract_state).items()}
        fields = {name.partition("/")[0] for name in wanted}
        try:
            stored = manifest.read(path, self._key).arrays
        except ValueError as error:
            raise self._unreadable(step, error) from error
        restored = {
            name: jax.ShapeDtypeStruct(shape, dtype)
            for name, (dtype, shape) in stored.items()
            if name.partition("/")[0] in fields
        }
        if differ := differences(wanted, restored):
            raise UserError(
                f"checkpoint={path} must hold a state of this model, because names and "
                f"shapes decide where its arrays belong, but {differ}; try the config it came from"
            )
        try:
            leaves = arrays.restore(path / STATE, wanted, partial=len(restored) < len(stored))
        except jax.errors.JaxRuntimeError:
            raise
        except Exception as error:
            raise self._unreadable(step, error) from error
        structure = jax.tree.structure(abstract_state)
        return jax.tree.unflatten(structure, [leaves[name] for name in wanted])

    def wait(self) -> None:
        """Return when all that was saved is on disk; ValueError if it could not be written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            with self._to_disk():
                writing.result()

    def close(self) -> None:
        """`wait`, then let go of threads; even if the wait raises."""
        try:
            self.wait()
        finally:
            writer, self._writer = self._writer, None
            self._waiter.shutdown()
            if writer is not None:
                try:
                    writer.close()
                except Exception:
                    # Orbax reports again a failure that we have reported.
                    if not self._has_failed:
                        raise

    def _open(self) -> "ocp.AsyncCheckpointer":
        """Orbax's writer; made at the first save, so that who only reads changes no file."""
        if self._writer is not None:
            return self._writer
        stand = json.loads(decided("open", lambda _: json.dumps(self._prepared())))
        self._losses = {int(step): loss for step, loss in stand.items()}
        self._writer = arrays.writer()
        return self._writer

    def _prepared(self) -> dict[int, float]:
        """The steps that stand, with their losses, in a folder that is ready to be written to."""
        self.folder.prepare()
        return {step: self._loss(step) for step in self.steps()}

    def _loss(self, step: int) -> float:
        try:
            return self.folder.meta(step)["metrics"].get("eval_loss", math.nan)
        except (OSError, ValueError, LookupError):
            return math.nan  # it is damaged, which is for who reads it to say

    def _finish(self, step: int, forms: dict[str, Form], loss: float) -> None:
        """Runs in the background: make what Orbax wrote a checkpoint, then delete older ones.

        Each process flushes and hashes the files it wrote, process 0 also those that belong to
        all; the manifest comes when all have done so.
        """
        assert self._writer is not None
        self._writer.wait_until_finished()
        path, process = self.folder.saving(step), jax.process_index()
        names = manifest.file_names(path)
        if process == 0 and META not in names:  # Orbax has created the folders again
            raise FileNotFoundError(f"{path.parent} was moved away meanwhile")
        entries = manifest.flushed(path, [n for n in names if arrays.written_by(n) == process])

        def publish(words: list[str]) -> str:
            files = {n: manifest.Entry(*e) for word in words for n, e in json.loads(word).items()}
            assert files.keys() == set(manifest.file_names(path))
            manifest.write(path, Manifest(step, files, forms), self._key)
            self.folder.publish(step)
            losses = {**self._losses, step: loss}
            keep = kept_steps(losses, losses, self._config)
            for old in losses.keys() - keep:
                self.folder.delete(old)
            return json.dumps({kept: losses[kept] for kept in keep})

        stand = json.loads(decided("save", publish, json.dumps(entries)))
        self._losses = {int(kept): loss for kept, loss in stand.items()}

    def _existing(self, step: int | None) -> int:
        steps = self.steps()
        if steps and (step is None or step in steps):
            return steps[-1] if step is None else step
        raise self.absent(step)

    def absent(self, step: int | None) -> UserError:
        """Tells that there is no checkpoint, or not this one, and which there are."""
        steps = self.steps()
        wanted = "a checkpoint" if step is None else f"a complete checkpoint of step {step}"
        offer = f"step {' or '.join(map(str, steps))}" if steps else "the directory of a run"
        return UserError(
            f"checkpoints={self.directory} must hold {wanted}, because the state is read from it; "
            f"try {offer}"
        )

    @contextmanager
    def _to_disk(self) -> Iterator[None]:
        """Within, a failure is that of the save, unless JAX reports it: of a peer, or a device."""
        try:
            yield
        except Exception as error:
            self._has_failed = True
            if isinstance(error, jax.errors.JaxRuntimeError):
                raise
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> UserError:
        last, cause = self.latest_step(), arrays.cause(error)
        good = "there is no good one" if last is None else f"step {last} is the last good one"
        full = "No space left" in cause
        return UserError(
            f"checkpoints={self.directory} must {'have room' if full else 'be writable'}, because "
            f"saving step {self._saving} failed: {cause} ({good}); "
            f"try {'freeing space' if full else 'removing the cause'}, then again with --resume"
        )

    def _unreadable(self, step: int, error: Exception) -> UserError:
        earlier = [other for other in self.steps() if other < step]
        return UserError(
            f"checkpoint={self.folder.of(step)} must be readable, because the state comes from it, "
            f"but: {arrays.cause(error)}; try {f'step {earlier[-1]}' if earlier else 'another run'}"
        )
