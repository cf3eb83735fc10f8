"""The declared weights of a model as one chip holds them: cut over `tensor`, whole over `fsdp`."""

import functools
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from data.errors import UserError
from model.families.family import FamilyConfig, LayerStack
from model.sharding import MESH_AXES
from model.weights import Weight, weights_of

AXIS = "tensor"


class LayerCut(NamedTuple):
    """A layer of a stack."""

    elements: float
    """Of all its matrices."""
    split_channels: float
    """As of `Cut`."""


class Cut(NamedTuple):
    """Elements and channels by what they are there for."""

    matrices: dict[str, float]
    """Elements of each matrix of one layer."""
    layers: tuple[LayerCut, ...]
    """Of each stack."""
    layer: float
    """Elements of all matrices of a layer, the mean over layers."""
    products: float
    """The same, each as often as a row's places meet it."""
    head: dict[str, float]
    """Elements of each matrix of the head."""
    whole: float
    """Elements of those matrices of a layer that the axis does not cut: of too few keys. This and
    what follows for layers are means over all."""
    tables: tuple[float, ...]
    """Elements of each [V, D] table."""
    vectors: float
    """Elements of all norms, biases and positions, over all layers."""
    rows: float
    """V, of one table."""
    split_channels: float
    """Channels of a layer's activations that are cut, as if every one were; the attention's output
    counts, and so does what an activation function is given."""
    split_outputs: float
    """Channels, not cut, of those results of a layer's matrices that are cut."""
    whole_outputs: float
    """Channels of the results that are not: what is added to the residual stream."""


@functools.lru_cache(maxsize=4096)
def is_planned(model: FamilyConfig) -> bool:
    """Whether its weights and its answers are all that arithmetic needs: each matrix is one of the
    equal layers of a stack, or next to it, or the head's."""
    if not (model.table_rows and model.attended.heads and _layer_matrices(model)):
        return False
    layers: Counter[tuple[Any, ...]] = Counter()
    for weight in weights_of(model):
        if weight.is_matrix and not _in_head(weight):
            inside = weight.name.partition("/")[2]
            layers[_stack(model, weight), inside, weight.shape, weight.logical] += weight.layers
    return all(stack and count == stack.layers for (stack, *_), count in layers.items())


def require_planned(model: FamilyConfig) -> None:
    """Raise ValueError for a family whose parts plans do not know."""
    if is_planned(model):
        return
    if model.vocabulary is None:
        lacking = "read tokens"
    elif not model.attended.heads:
        lacking = "have attention"
    else:
        lacking = "have equal layers, all other weights vectors or a head's,"
    raise UserError(
        f"model.kind={model.kind} must {lacking} to be planned, because a step's time and memory "
        "are counted from equal layers of attention over tokens and a table that scores them; try "
        "a preset of another family, or training it as it is"
    )


@functools.lru_cache(maxsize=4096)
def cut(model: FamilyConfig, tensor: int, written: float = 1.0) -> Cut:
    """What a chip holds where the mesh axis `tensor` has that size, of rows of which the table
    scores the share `written`; ValueError for a family whose parts plans do not know."""
    require_planned(model)
    listed = weights_of(model)
    matrices = _layer_matrices(model)
    tables = [w for w in listed if w.is_table and "vocab" in w.logical]
    others = [w for w in listed if not w.is_matrix and w not in tables]
    sizes = {AXIS: tensor}
    local = {w.name: w.local(sizes, AXIS) for w in matrices}
    split = [(w, side) for w in matrices for side in (w.fan_in, w.fan_out) if _is_split(w, side)]

    def mean(values: Iterable[tuple[Weight, float]]) -> float:
        return sum(_layers(model, w) * value for w, value in values) / model.depth

    def met(weight: Weight, side: tuple[int, ...]) -> tuple[Weight, float]:
        return weight, model.met(weight.name, written) * weight.channels(side)

    def of_stack(stack: LayerStack) -> LayerCut:
        own = [w for w in matrices if w.name.startswith(stack.prefix)]
        channels = sum(met(w, side)[1] for w, side in split if w in own) / tensor
        return LayerCut(sum(local[w.name] for w in own), channels)

    return Cut(
        matrices=local,
        layers=tuple(map(of_stack, model.stacks(written))),
        layer=mean((w, local[w.name]) for w in matrices),
        products=mean((w, model.met(w.name, written) * local[w.name]) for w in matrices),
        head={w.name: w.local(sizes, AXIS) for w in listed if w.is_matrix and _in_head(w)},
        whole=mean(
            (w, local[w.name]) for w in matrices if tensor > 1 and local[w.name] == _layer(w)
        ),
        tables=tuple(w.local(sizes, AXIS) for w in tables),
        vectors=sum(w.layers * w.local(sizes, AXIS) for w in others),
        rows=tables[0].shape[0] / tensor if tables else 0.0,
        split_channels=mean(met(w, side) for w, side in split) / tensor,
        split_outputs=mean(met(w, side) for w, side in split if side == w.fan_out),
        whole_outputs=mean(met(w, w.fan_out) for w in writers(model)),
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


def recomputed(model: FamilyConfig, written: float = 1.0) -> float:
    """Share of the layers' forward products that the backward pass computes again if nothing of
    them is kept: all but the last of the residual branches, unless they read their results."""
    if model.reads_last_sum:
        return 1.0

    def products(matrices: Iterable[Weight]) -> float:
        return sum(_layers(model, w) * model.met(w.name, written) * _layer(w) for w in matrices)

    last = (
        w
        for stack in model.stacks(written)
        for w in [w for w in writers(model) if w.name.startswith(stack.prefix)][stack.sums - 1 :]
    )
    return 1 - products(last) / products(_layer_matrices(model))


def _stack(model: FamilyConfig, weight: Weight) -> LayerStack | None:
    """The stack that it is of."""
    return next((s for s in model.stacks(1.0) if weight.name.startswith(s.prefix)), None)


def _layers(model: FamilyConfig, weight: Weight) -> int:
    """How many layers have it, those next to a stack counted."""
    stack = _stack(model, weight)
    assert stack, "else it is not planned"
    return stack.layers


def _layer_matrices(model: FamilyConfig) -> list[Weight]:
    return [w for w in weights_of(model) if w.stacked and w.is_matrix]


def _in_head(weight: Weight) -> bool:
    return weight.name.startswith("task_head/")


def _layer(weight: Weight) -> int:
    return math.prod(weight.shape)


def _is_split(weight: Weight, side: tuple[int, ...]) -> bool:
    axes = (weight.logical[dimension] for dimension in side)
    return any(axis and AXIS in MESH_AXES[axis] for axis in axes)
