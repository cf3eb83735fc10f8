"""The declared weights of a model as one chip holds them: cut over `tensor`, whole over `fsdp`."""

import functools
import math
from collections import Counter
from typing import NamedTuple

from data.errors import UserError
from model.families.family import FamilyConfig
from model.sharding import MESH_AXES
from model.weights import Weight, weights_of

AXIS = "tensor"


class Cut(NamedTuple):
    """Elements and channels by what they are there for."""

    matrices: dict[str, float]
    """Elements of each matrix of one layer."""
    head: dict[str, float]
    """Elements of each matrix of the head."""
    whole: float
    """Elements of those matrices of a layer that the axis does not cut: of too few keys."""
    tables: tuple[float, ...]
    """Elements of each [V, D] table."""
    vectors: float
    """Elements of all norms, biases and positions, over all layers."""
    rows: float
    """V, of one table."""
    split_channels: float
    """Channels of a layer's activations that are cut, as if every one were; the attention's output
    counts, and so does what an activation function is given."""
    split_outputs: int
    """Channels, not cut, of those results of a layer's matrices that are cut."""
    whole_outputs: int
    """Channels of the results that are not: what is added to the residual stream."""


@functools.lru_cache(maxsize=4096)
def is_planned(model: FamilyConfig) -> bool:
    """Whether its weights and its answers are all that arithmetic needs: each matrix is one of
    equal layers, stacked or next to the stack, or the head's."""
    layers: Counter[tuple[object, ...]] = Counter()
    for weight in weights_of(model):
        if weight.is_matrix and not _in_head(weight):
            inside = weight.name.partition("/")[2]
            layers[inside, weight.shape, weight.logical] += weight.layers
    return bool(
        model.table_rows
        and model.attended.heads
        and layers
        and _layer_matrices(model)
        and all(count == model.depth for count in layers.values())
    )


@functools.lru_cache(maxsize=4096)
def cut(model: FamilyConfig, tensor: int) -> Cut:
    """What a chip holds where the mesh axis `tensor` has that size; ValueError for a family whose
    parts plans do not know."""
    if not is_planned(model):
        raise UserError(
            f"model.kind={model.kind} must be equal layers of attention and matrices and a table "
            "that scores, all other weights vectors or a head's, because plans are made from "
            "those; try another family, or training it as it is"
        )
    listed = weights_of(model)
    matrices = _layer_matrices(model)
    tables = [w for w in listed if w.is_table and "vocab" in w.logical]
    others = [w for w in listed if not w.is_matrix and w not in tables]
    sizes = {AXIS: tensor}
    local = {w.name: w.local(sizes, AXIS) for w in matrices}
    split = [(w, side) for w in matrices for side in (w.fan_in, w.fan_out) if _is_split(w, side)]
    return Cut(
        matrices=local,
        head={w.name: w.local(sizes, AXIS) for w in listed if w.is_matrix and _in_head(w)},
        whole=sum(local[w.name] for w in matrices if tensor > 1 and local[w.name] == _layer(w)),
        tables=tuple(w.local(sizes, AXIS) for w in tables),
        vectors=sum(w.layers * w.local(sizes, AXIS) for w in others),
        rows=tables[0].shape[0] / tensor if tables else 0.0,
        split_channels=sum(w.channels(side) for w, side in split) / tensor,
        split_outputs=sum(w.channels(side) for w, side in split if side == w.fan_out),
        whole_outputs=sum(w.channels(w.fan_out) for w in writers(model)),
    )


def evenly_cut(model: FamilyConfig) -> int:
    """The largest size of the axis that cuts heads and feed-forward width evenly; key heads may
    stay whole and tables are padded."""
    return math.gcd(
        *(
            size
            for weight in weights_of(model)
            for size, name in zip(weight.shape, weight.logical, strict=True)
            if name in ("heads", "mlp")
        )
    )


def writers(model: FamilyConfig) -> list[Weight]:
    """The matrices of a layer whose results are added to the residual stream, in order."""
    return [w for w in _layer_matrices(model) if not _is_split(w, w.fan_out)]


def recomputed(model: FamilyConfig) -> float:
    """Share of a layer's forward products that its backward pass computes again if nothing of the
    layer is kept: all but the last of the residual branches, unless it reads their results."""
    if model.reads_last_sum:
        return 1.0
    last = sum(_layer(w) for w in writers(model)[model.residual_sums - 1 :])
    return 1 - last / sum(_layer(w) for w in _layer_matrices(model))


def _layer_matrices(model: FamilyConfig) -> list[Weight]:
    return [w for w in weights_of(model) if w.stacked and w.is_matrix]


def _in_head(weight: Weight) -> bool:
    return weight.name.startswith("task_head/")


def _layer(weight: Weight) -> int:
    return math.prod(weight.shape)


def _is_split(weight: Weight, side: tuple[int, ...]) -> bool:
    axes = (weight.logical[dimension] for dimension in side)
    return any(axis and AXIS in MESH_AXES[axis] for axis in axes)
