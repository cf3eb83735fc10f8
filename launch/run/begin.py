"""Weights that a run begins with in place of fresh ones: of a pretrained checkpoint, or of another
run's newest checkpoint."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from data.errors import UserError
from launch.config import RunConfig
from launch.pretrained.checkpoint import Pretrained, open_pretrained
from launch.pretrained.load import started
from launch.pretrained.match import match, require_architecture
from launch.process.distributed import from_first_process
from launch.run.saved import is_pretrained
from launch.run.signing import signing_key
from launch.run.source import open_trained
from train.checkpoint import arrays
from train.checkpoint.checkpointer import STATE, Checkpointer
from train.checkpoint.manifest import MANIFEST, fault_list, read
from train.checkpoint.tree import named_leaves, placed
from train.state import TrainState


class TrainedSource(NamedTuple):
    """A checkpoint of another run."""

    path: Path
    """Of the checkpoint."""
    head: str
    """The kind of its head."""
    digest: str
    """Of its manifest, which has the digest of every file."""


def open_source(config: RunConfig) -> Pretrained | TrainedSource | None:
    """What a run of that config begins with; None for fresh weights.

    Raises ValueError for weights that are not those of its model, or are damaged.
    """
    spec = config.start_from
    if spec is None:
        return None
    if not is_pretrained(Path(spec)):
        return _open_trained(spec, config)
    pretrained = open_pretrained(spec)
    match(pretrained, config.model)
    return pretrained


def _open_trained(spec: str, config: RunConfig) -> TrainedSource:
    run = open_trained(spec)
    theirs: Any = run.config.model
    require_architecture(run.directory.path, theirs, config.model)
    if run.config.data.load_tokenizer() is not None:
        run.require_tokenizer(config.data.load_tokenizer(), config.data)
    checkpointer = Checkpointer(
        run.directory.checkpoints, config.train.checkpoint, key=signing_key()
    )
    step = int(from_first_process(lambda: str(max(checkpointer.steps(), default=-1))))
    if step < 0:
        raise checkpointer.absent(None)
    path = checkpointer.folder.of(step)
    if faults := checkpointer.faults(step):
        raise UserError(
            f"start_from={spec} must have a good newest checkpoint, because weights are read from "
            f"it, but in {path} {fault_list(faults)}; try `meshloom checkpoint verify {spec}`, or "
            "another run"
        )
    digest = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    return TrainedSource(path, theirs.head.kind, digest)


def begun(
    state: TrainState, source: Pretrained | TrainedSource, say: Callable[[str], None]
) -> TrainState:
    """A fresh state, which is given up, with the weights of the source, of which the moving average
    is a copy, if there is one; ValueError for weights that it lacks, unless they are a head's."""
    if isinstance(source, Pretrained):
        return started(state, source, say)
    own = named_leaves(state.model)
    stored = read(source.path, signing_key()).arrays
    prefix = "average/" if any(name.startswith("average/") for name in stored) else "model/"
    there = {
        name.removeprefix(prefix): tuple(shape)
        for name, (_, shape) in stored.items()
        if name.startswith(prefix)
    }
    fits = {name for name, leaf in own.items() if there.get(name) == leaf.shape}
    if source.head != state.model.config.head.kind:
        fits -= {name for name in fits if name.startswith("task_head/")}
    fresh = sorted(own.keys() - fits)
    _require_rest_is_head(source.path, fresh, there, own)
    wanted = {prefix + name: _given_up(own[name]) for name in fits}
    has_average = state.average is not None
    jax.tree.map(_given_up, state.average)
    leaves = _restored(source.path, wanted, partial=len(wanted) < len(stored))
    count = sum(leaf.size for leaf in leaves.values())
    of = "the moving average of " if prefix == "average/" else ""
    say(f"weights: {count:,} parameters, {of}{source.path} ({source.digest[:16]})")
    if fresh:
        say(f"weights: fresh, as the checkpoint has none that fit: {', '.join(fresh)}")
    if left := sorted(there.keys() - fits):
        say(f"weights: left out, as the model has no use for them: {', '.join(left)}")
    taken = [leaves.get(prefix + name, leaf) for name, leaf in own.items()]
    model = jax.tree.unflatten(jax.tree.structure(state.model), taken)
    average = jax.tree.map(jnp.copy, model) if has_average else None
    return dataclasses.replace(state, model=model, average=average)


def _require_rest_is_head(
    path: Path, fresh: list[str], there: Mapping[str, tuple[int, ...]], own: Mapping[str, Any]
) -> None:
    for name in fresh:
        if not name.startswith("task_head/"):
            has = f"{name} of {there[name]}" if name in there else f"no {name}"
            raise UserError(
                f"{path} must hold {name} of {own[name].shape}, because only a head may be fresh, "
                f"but it has {has}; try the run's own --model.vocab-multiple, and a head that the "
                "run has, or none of tokens"
            )


def _given_up(array: jax.Array) -> jax.ShapeDtypeStruct:
    """Shape, type and layout of an array whose memory is free from here on."""
    shape = placed(jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding))
    array.delete()
    return shape


def _restored(path: Path, wanted: Mapping[str, Any], *, partial: bool) -> dict[str, Any]:
    try:
        return arrays.restore(path / STATE, wanted, partial=partial)
    except jax.errors.JaxRuntimeError:
        raise
    except Exception as error:
        raise UserError(
            f"start_from: {path} must be readable, because the weights come from it, but: "
            f"{arrays.cause(error)}; try again, if its run goes on and has replaced it"
        ) from error
