"""Pretrained weights onto a mesh: devices share what is read, and no process reads all of it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from launch.pretrained.checkpoint import Pretrained
from launch.pretrained.exchange import fill, row_layout
from launch.pretrained.image_files import BICUBIC, resampled
from launch.pretrained.match import RESIZED, Matched, TensorPlace, match
from launch.pretrained.read import Index, read_rows, read_shard
from model.weights import Weight
from train.state import TrainState


def started(state: TrainState, pretrained: Pretrained, report: Callable[[str], None]) -> TrainState:
    """A fresh state, which is given up, with pretrained weights, of which the moving average is a
    copy, if there is one."""
    jax.tree.map(lambda array: array.delete(), state.average)
    model = load_weights(state.model, pretrained, report)
    average = None if state.average is None else jax.tree.map(jnp.copy, model)
    return dataclasses.replace(state, model=model, average=average)


def load_weights(model: Any, pretrained: Pretrained, report: Callable[[str], None]) -> Any:
    """The model with the weights of the checkpoint, laid out as its own; a head that the checkpoint
    does not have stays as it is, and `report` says so.

    Arrays of `model` are given up. Beside them a few layers' part of one shard is in memory at a
    time. Raises ValueError as `match`, and for numbers that are not finite.
    """
    matched = match(pretrained, model.config)
    _report(pretrained, model.config, matched, report)

    def placed(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        place = matched.places.get(name)
        if place is None:
            return leaf
        array, fresh = leaf[...], None
        if place.weight.shape != array.shape[place.weight.stacked :]:
            return leaf.replace(resized_table(array, place, model.config, pretrained.model))
        if matched.added and is_token_table(place.weight):
            fresh = jnp.copy(array)
        array = placed_weight(array, place)
        return leaf.replace(array if fresh is None else with_rows(array, fresh, matched.added))

    return jax.tree_util.tree_map_with_path(
        placed, model, is_leaf=lambda node: isinstance(node, nnx.Param)
    )


def placed_weight(array: jax.Array, place: TensorPlace) -> jax.Array:
    """The weight that has that place, laid out as the array, which is given up."""
    sharding: Any = array.sharding
    if layout := row_layout(place, sharding.spec, sharding.mesh.shape):
        read = functools.partial(read_rows, place, outputs_first=layout.outputs_first)
        return fill(array, layout, place, read)
    shape = array.shape

    def shard(index: Index | None) -> np.ndarray:
        return read_shard(place, shape, index or (slice(None),) * len(shape))

    return jax.make_array_from_callback(shape, sharding, shard)


def resized_table(array: jax.Array, place: TensorPlace, model: Any, theirs: Any) -> jax.Array:
    """The table of positions for images of the model's size, laid out as the array."""
    shape = place.weight.shape
    table = read_shard(place, shape, (slice(None),) * len(shape))
    table = np.asarray(model.resized(jnp.asarray(table), theirs))
    return jax.make_array_from_callback(array.shape, array.sharding, lambda index: table[index])


def is_token_table(weight: Weight) -> bool:
    """Whether it has a row for each token."""
    return weight.is_table and "vocab" in weight.logical


def with_rows(array: jax.Array, others: jax.Array, rows: range) -> jax.Array:
    """The array with those rows of another, which is laid out alike."""

    def chosen(index: Index | None) -> np.ndarray:
        numbers = np.arange(array.shape[0])[:, None]
        whole = (numbers >= rows.start) & (numbers < rows.stop)
        return np.broadcast_to(whole, array.shape)[index or ...]

    mask = jax.make_array_from_callback(array.shape, array.sharding, chosen)
    return jax.jit(jnp.where, donate_argnums=2)(mask, others, array)


def _report(
    pretrained: Pretrained, model: Any, matched: Matched, report: Callable[[str], None]
) -> None:
    count = sum(place.weight.size for place in matched.places.values())
    report(f"weights: {count:,} parameters of {pretrained.spec} ({pretrained.digest[:16]})")
    scalings = [getattr(each, "rope_scaling", None) for each in (pretrained.model, model)]
    if scalings[0] != scalings[1]:
        report(f"weights: RoPE is stretched otherwise than in the checkpoint: {scalings[1]}")
    sizes = [getattr(each, RESIZED, None) for each in (pretrained.model, model)]
    if sizes[0] != sizes[1]:
        before, after = (" x ".join(map(str, size or ())) for size in sizes)
        report(
            f"weights: positions of images of {before} are interpolated to {after}, "
            f"{model.interpolation}"
        )
    if (number := resampled(pretrained.path)) != BICUBIC:
        report(
            f"weights: of images that were resized by Pillow's filter {number}, which are resized "
            "by bicubic here"
        )
    head = pretrained.model.head
    if head.kind == "embedding":
        report(f"weights: of sentences, pooled by {head.pooling}")
    if others := pretrained.others:
        parts = sorted({name.removeprefix("model.").partition(".")[0] for name in others})
        report(
            f"weights: left out, as no text is read by them: {len(others):,} of {', '.join(parts)}"
        )
    fresh = list(matched.fresh)
    if added := matched.added:
        tables = [n for n, place in matched.places.items() if is_token_table(place.weight)]
        fresh += [f"rows {added.start:,} to {added.stop - 1:,} of {name}" for name in tables]
    if fresh:
        report(f"weights: fresh, as the checkpoint has none: {', '.join(fresh)}")
    if matched.left:
        report(f"weights: left out, as the model has no use for them: {', '.join(matched.left)}")
