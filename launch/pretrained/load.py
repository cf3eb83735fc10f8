"""Pretrained weights onto a mesh: each device reads the bytes that its shard consists of."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from data.errors import UserError
from launch.pretrained.checkpoint import Pretrained
from launch.pretrained.match import Matched, TensorPlace, match
from launch.pretrained.tensors import Tensor
from train.state import TrainState

Index = tuple[slice, ...]


def started(state: TrainState, pretrained: Pretrained, report: Callable[[str], None]) -> TrainState:
    """A fresh state with pretrained weights, of which the moving average is a copy, if there is
    one."""
    model = load_weights(state.model, pretrained, report)
    average = None if state.average is None else jax.tree.map(jnp.copy, model)
    return dataclasses.replace(state, model=model, average=average)


def load_weights(model: Any, pretrained: Pretrained, report: Callable[[str], None]) -> Any:
    """The model with the weights of the checkpoint, laid out as its own; a head that the checkpoint
    does not have stays as it is, and `report` says so.

    No more than a layer's part of one shard is held beside the arrays. Raises ValueError as
    `match`, and for numbers that are not finite.
    """
    matched = match(pretrained, model.config)
    _report(pretrained, matched, report)

    def placed(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if (place := matched.places.get(name)) is None:
            return leaf
        array = leaf[...]

        def shard(index: Index | None) -> np.ndarray:
            return _shard(place, array.shape, index or (slice(None),) * array.ndim)

        return leaf.replace(jax.make_array_from_callback(array.shape, array.sharding, shard))

    return jax.tree_util.tree_map_with_path(
        placed, model, is_leaf=lambda node: isinstance(node, nnx.Param)
    )


def _report(pretrained: Pretrained, matched: Matched, report: Callable[[str], None]) -> None:
    count = sum(place.weight.size for place in matched.places.values())
    report(f"weights: {count:,} parameters of {pretrained.path} ({pretrained.digest[:16]})")
    if matched.fresh:
        report(f"weights: fresh, as the checkpoint has none: {', '.join(matched.fresh)}")
    if matched.left:
        report(f"weights: left out, as the model has no use for them: {', '.join(matched.left)}")


def _shard(place: TensorPlace, shape: tuple[int, ...], index: Index) -> np.ndarray:
    """The part of a weight, of that whole shape, at an index, in float32."""
    bounds = [slice(*part.indices(size)[:2]) for part, size in zip(index, shape, strict=True)]
    layers, own = (bounds[0], bounds[1:]) if place.weight.stacked else (slice(0, 1), bounds)
    out = np.empty([b.stop - b.start for b in [layers, *own]], np.float32)
    for number, tensor in enumerate(place.tensors[layers]):
        part = _layer(place, tensor, own)
        if not np.isfinite(part).all():
            raise UserError(
                f"{tensor.path}: {tensor.name} must hold finite numbers, because they are weights, "
                f"but {np.sum(~np.isfinite(part)):,} are not; try fetching that file again"
            )
        out[number] = part
    return out if place.weight.stacked else out[0]


def _layer(place: TensorPlace, tensor: Tensor, own: list[slice]) -> np.ndarray:
    """That part of one layer, in the weight's own dimensions."""
    weight = place.weight
    shape = [b.stop - b.start for b in own]
    if weight.is_table:
        return _padded(tensor, *own)
    if not weight.is_matrix:
        run, at = _flat(weight.shape, own), place.before
        return _padded(tensor, slice(at + run.start, at + run.stop), None).reshape(shape)
    n = len(weight.fan_in)
    ins, outs = _flat(weight.shape[:n], own[:n]), _flat(weight.shape[n:], own[n:])
    outs = slice(outs.start + place.before, outs.stop + place.before)
    if place.inputs_first:
        return tensor.read(ins, outs).astype(np.float32).reshape(shape)
    return tensor.read(outs, ins).astype(np.float32).T.reshape(shape)


def _padded(tensor: Tensor, rows: slice, columns: slice | None) -> np.ndarray:
    """Rows of a tensor, and after its last ones zeros, which pad a vocabulary."""
    there = slice(min(rows.start, tensor.rows), min(rows.stop, tensor.rows))
    width = math.prod(tensor.shape[1:]) if columns is None else columns.stop - columns.start
    out = np.zeros((rows.stop - rows.start, width), np.float32)
    if count := there.stop - there.start:
        out[:count] = tensor.read(there, columns)
    return out


def _flat(shape: tuple[int, ...], bounds: list[slice]) -> slice:
    """The run of flat elements that a part of dimensions is, of which the first alone is cut."""
    inner = 1
    for size, part in zip(shape[1:], bounds[1:], strict=True):
        assert (part.start, part.stop) == (0, size), "no mesh axis cuts inside a head"
        inner *= size
    return slice(bounds[0].start * inner, bounds[0].stop * inner)
