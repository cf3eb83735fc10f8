"""Checkpoints: when they are written, which are kept, and the way back onto any mesh.

One commit holds the state (Orbax) and its meta (JSON). Orbax is imported at the first save or
restore, so that a run that starts does not wait for it; its classic interface is used.
"""

import errno
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from train.config import CheckpointConfig

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

State = TypeVar("State")
Meta = dict[str, Any]

# All of these exist in a committed checkpoint. Deleting one removes the first of them first.
COMMITTED = "commit_success.txt"
PARTS = (COMMITTED, "_CHECKPOINT_METADATA", "meta/metadata", "state/_METADATA")
SHOWN_DIFFERENCES = 5


class Checkpointer:
    """Writes and reads the checkpoints of one run, `directory/<step>`, on every process alike."""

    def __init__(self, directory: epath.PathLike, config: CheckpointConfig) -> None:
        self.directory = epath.Path(directory)
        if not self.directory.is_absolute() and "://" not in str(directory):
            raise ValueError(
                f"directory={directory} must be absolute, because all processes must agree on it; "
                f"try {self.directory.absolute()}"
            )
        self._config = config
        self._manager: ocp.CheckpointManager | None = None
        self._saved: int | None = None
        self._losses: dict[int, float] = {}
        self._clock = _Clock(config.every_minutes)

    def steps(self) -> list[int]:
        """Steps that can be restored, oldest first; half-written and half-deleted ones are not."""
        if not self.directory.exists():
            return []
        names = (path.name for path in self.directory.iterdir())
        numbers = sorted(int(name) for name in names if name.isdecimal())
        return [step for step in numbers if _is_whole(self._path(step))]

    def latest_step(self) -> int | None:
        """The newest step that can be restored, None if there is none."""
        return max(self.steps(), default=None)

    def read_meta(self, step: int | None = None) -> Meta:
        """The JSON saved beside the state of `step` (default: the latest); reads no array."""
        step = self._existing(step)
        try:
            return json.loads((self._path(step) / "meta" / "metadata").read_text())
        except (OSError, ValueError) as error:
            raise self._unreadable(step, error) from error

    def save(
        self,
        step: int,
        state: object,
        meta: Meta,
        *,
        metrics: dict[str, float] | None = None,
        force: bool = False,
    ) -> bool:
        """Start writing `state` and `meta` if a checkpoint is due (or `force`), and say whether.

        Returns as soon as the arrays are copied; the files follow in the background, and what goes
        wrong there is raised by the next `save` or `wait`. Call it after every step. `metrics`
        are kept with the checkpoint; `eval_loss` among them ranks it for `keep_best`.
        """
        self._raise_failure()
        if not (force or self._is_due(step)) or step == self._saved:
            return False
        if self._manager is None:
            self._manager = self._open()
        import orbax.checkpoint as ocp

        if metrics and "eval_loss" in metrics:
            self._losses[step] = metrics["eval_loss"]
        args = ocp.args.Composite(
            state=ocp.args.PyTreeSave(_to_nested(state)),
            meta=ocp.args.JsonSave({**meta, "metrics": metrics or {}}),
        )
        try:
            self._manager.save(step, args=args, force=True)
        except Exception as error:
            raise self._unwritable(error) from error
        self._saved = step
        self._clock.reset(step)
        return True

    def restore(self, abstract_state: State, step: int | None = None) -> State:
        """Read the state of `step` (default: the latest) into the shapes and shardings given.

        `abstract_state` has a ShapeDtypeStruct at every leaf, as `jax.eval_shape` makes it; a leaf
        without a sharding is replicated over the current mesh. A top-level field without leaves
        (say `opt_state=None`) is not read. Raises ValueError if names, shapes or types differ.
        """
        import orbax.checkpoint as ocp

        step = self._existing(step)
        path = self._path(step) / "state"
        wanted = {name: _placed(leaf) for name, leaf in _named(abstract_state)}
        handler = ocp.PyTreeCheckpointHandler()
        reader = ocp.Checkpointer(handler)
        try:
            stored = dict(_named(handler.metadata(path).tree))
            fields = {name.partition("/")[0] for name in wanted}
            found = {n: leaf for n, leaf in stored.items() if n.partition("/")[0] in fields}
            differences = _differences(wanted, found)
            if not differences:
                target = _nest(wanted)
                args = ocp.args.PyTreeRestore(
                    target,
                    restore_args=ocp.checkpoint_utils.construct_restore_args(target),
                    partial_restore=len(found) < len(stored),
                )
                leaves = dict(_named(reader.restore(path, args=args)))
        except Exception as error:
            raise self._unreadable(step, error) from error
        finally:
            reader.close()
        if differences:
            raise ValueError(
                f"checkpoint={self._path(step)} must hold this model's state, because it is read by "
                f"name and shape, but {differences}; try the config.yaml it was saved with"
            )
        structure = jax.tree.structure(abstract_state)
        return jax.tree.unflatten(structure, [leaves[name] for name in wanted])

    def wait(self) -> None:
        """Return when everything saved is on disk; raise if it could not be written."""
        if self._manager is not None:
            try:
                self._manager.wait_until_finished()
            except Exception as error:
                raise self._unwritable(error) from error

    def close(self) -> None:
        """Wait, then let go of threads and files."""
        self.wait()
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _path(self, step: int) -> epath.Path:
        return self.directory / str(step)

    def _is_due(self, step: int) -> bool:
        every = self._config.every_steps
        return (every is not None and step % every == 0) or self._clock.is_due(step)

    def _open(self) -> "ocp.CheckpointManager":
        """Orbax's manager, after leftovers of a killed run have been removed."""
        import orbax.checkpoint as ocp

        for step in self.steps():
            loss = self.read_meta(step).get("metrics", {}).get("eval_loss")
            if loss is not None:
                self._losses[step] = loss
        if jax.process_index() == 0 and self.directory.exists():
            for path in self.directory.iterdir():
                if path.name.isdecimal() and not (path / COMMITTED).exists():
                    path.rmtree()
        options = ocp.CheckpointManagerOptions(
            cleanup_tmp_directories=True,
            preservation_policy=_Retention(self._config, self._losses),
            # With threads, Orbax deletes the marker and a step's other files before its arrays.
            num_deletion_threads=4,
        )
        return ocp.CheckpointManager(self.directory, options=options)

    def _existing(self, step: int | None) -> int:
        steps = self.steps()
        if steps and (step is None or step in steps):
            return steps[-1] if step is None else step
        offer = f"one of {', '.join(map(str, steps))}" if steps else "another run directory"
        wanted = "a checkpoint" if step is None else f"a whole checkpoint of step {step}"
        raise ValueError(
            f"checkpoints={self.directory} must hold {wanted}, because the state is read from it; "
            f"try {offer}"
        )

    def _raise_failure(self) -> None:
        if self._manager is not None:
            try:
                self._manager.check_for_errors()
            except Exception as error:
                raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> ValueError:
        last = self.latest_step()
        kept = (
            "no checkpoint exists" if last is None else f"the last good checkpoint is step {last}"
        )
        if "No space left" in str(error) or getattr(error, "errno", None) == errno.ENOSPC:
            need, remedy = "have room for the checkpoint", "freeing space, then --resume"
        else:
            need, remedy = "be writable", "repairing the cause, then --resume"
        return ValueError(
            f"checkpoints={self.directory} must {need}, because saving step {self._saved} failed: "
            f"{_first_line(error)} ({kept}); try {remedy}"
        )

    def _unreadable(self, step: int, error: Exception) -> ValueError:
        others = [other for other in self.steps() if other != step]
        offer = f"step {others[-1]}" if others else "another run directory"
        return ValueError(
            f"checkpoint={self._path(step)} must be readable, because the run goes on from it: "
            f"{_first_line(error)}; try {offer}"
        )


def kept_steps(
    steps: Sequence[int], losses: dict[int, float], config: CheckpointConfig
) -> set[int]:
    """The steps that stay: the latest, the multiples of `keep_every` and the best by loss."""
    keep = set(sorted(steps)[-config.keep_latest :])
    if config.keep_every:
        keep |= {step for step in steps if step % config.keep_every == 0}
    rated = sorted(
        (s for s in steps if s in losses), key=lambda s: np.nan_to_num(losses[s], nan=np.inf)
    )
    return keep | set(rated[: config.keep_best])


class _Checkpoint(Protocol):
    step: int


class _Retention:
    """`kept_steps` in the shape Orbax asks for."""

    def __init__(self, config: CheckpointConfig, losses: dict[int, float]) -> None:
        self._config, self._losses = config, losses

    def should_preserve(self, checkpoints: Sequence[_Checkpoint], *, context: object) -> list[bool]:
        del context
        keep = kept_steps([c.step for c in checkpoints], self._losses, self._config)
        return [c.step in keep for c in checkpoints]


class _Clock:
    """Says when `every_minutes` have passed, the same on every process.

    Process 0's clock decides. So that not every step waits for its word, it tells elapsed time and
    each process asks again only after half of the steps that the pace so far leaves.
    """

    def __init__(self, minutes: float | None) -> None:
        self._seconds = None if minutes is None else 60 * minutes
        self._start: tuple[int, float] | None = None
        self._ask = 0

    def reset(self, step: int) -> None:
        self._start, self._ask = (step, time.monotonic()), step + 1

    def is_due(self, step: int) -> bool:
        if self._seconds is None:
            return False
        if self._start is None:
            self.reset(step)
        assert self._start is not None
        if step < self._ask:
            return False
        first, began = self._start
        elapsed = time.monotonic() - began
        if jax.process_count() > 1:
            elapsed = float(multihost_utils.broadcast_one_to_all(np.float32(elapsed)))
        left = (self._seconds - elapsed) / max(elapsed, 1e-3) * (step - first)
        self._ask = step + max(1, int(min(left, step - first) / 2))
        return elapsed >= self._seconds


def _is_whole(path: epath.Path) -> bool:
    return all((path / part).exists() for part in PARTS)


def _named(tree: object) -> list[tuple[str, Any]]:
    """Leaves with their paths, `model/blocks/mlp/up`; Flax's Param adds no part of its own."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    named = [
        (jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value"), leaf)
        for path, leaf in leaves
    ]
    assert len({name for name, _ in named}) == len(named), "two leaves have one name"
    return named


def _nest(leaves: dict[str, Any]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return root


def _to_nested(state: object) -> dict[str, Any]:
    return _nest(dict(_named(state)))


def _placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """`leaf` with a sharding on real devices: its own spec on the current mesh, else replicated."""
    mesh = jax.sharding.get_mesh()
    sharding: Sharding | None = leaf.sharding
    if mesh.empty:
        if not isinstance(sharding, Sharding) or isinstance(sharding, NamedSharding):
            sharding = SingleDeviceSharding(jax.local_devices()[0])
    else:
        spec = sharding.spec if isinstance(sharding, NamedSharding) else PartitionSpec()
        sharding = NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _differences(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    """What the checkpoint and the model disagree about, the first few, or nothing."""
    lines = [f"it lacks {name}" for name in wanted if name not in found]
    lines += [f"only it has {name}" for name in found if name not in wanted]
    for name in wanted:
        if name in found and _form(wanted[name]) != _form(found[name]):
            lines.append(f"{name} is {_form(found[name])} there and {_form(wanted[name])} here")
    more = len(lines) - SHOWN_DIFFERENCES
    return "; ".join(lines[:SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")


def _form(leaf: Any) -> str:
    return f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"[
        :300
    ]
