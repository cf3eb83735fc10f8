"""The tensors of a published kind of model, gathered from weights of ours one at a time."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils

from data.errors import UserError
from launch.pretrained.match import named, their_shape, theirs
from model.published.names import Name, Published
from model.weights import Weight, weights_of


class TensorPart(NamedTuple):
    """A weight of ours, of one layer, in a tensor of theirs."""

    weight: Weight
    name: Name
    layer: int | None
    """Its number in the stack."""


class Gathered:
    """What a checkpoint of a model holds, each tensor whole on this host when it is asked for.

    All processes ask for the same ones in the same order. Raises ValueError for a weight that has
    no name there, and for a head's tensor that would be missing.
    """

    def __init__(self, model: Any, published: Published) -> None:
        self._parts = tensor_parts(model.config, published)
        self._arrays, self._inputs_first = _arrays(model), published.inputs_first
        self._flat: Mapping[str, tuple[int, ...]] = {
            name: their_shape(
                [part.weight for part in own], model.config, inputs_first=self._inputs_first
            )
            for name, own in self._parts.items()
        }
        self.shapes: Mapping[str, tuple[int, ...]] = {
            name: flat if (shape := own[0].name.shape) is None else shape(own[0].weight.shape)
            for (name, own), flat in zip(self._parts.items(), self._flat.values(), strict=True)
        }
        """By the names of theirs, in their order."""

    def read(self, name: str) -> np.ndarray:
        """A tensor of that name, in the type of the weights."""
        shape = self._flat[name]
        parts = [self._part(part, shape) for part in self._parts[name]]
        axis = 1 if self._inputs_first and len(shape) == 2 else 0
        whole = np.concatenate(parts, axis=axis) if parts[1:] else parts[0]
        return whole.reshape(self.shapes[name])

    def _part(self, part: TensorPart, shape: tuple[int, ...]) -> np.ndarray:
        """A weight as theirs has it: its matrix turned, its dimensions flat, its padding cut."""
        weight, array = part.weight, self._arrays[part.weight.name](part.layer)
        if weight.is_table:
            return array[: shape[0]]
        if not weight.is_matrix:
            return array.reshape(-1)[: shape[0]]
        ins = math.prod(array.shape[: len(weight.fan_in)])
        matrix = array.reshape(ins, -1)
        return matrix if self._inputs_first else matrix.T.reshape(-1, *shape[1:])


def tensor_parts(config: Any, published: Published) -> dict[str, list[TensorPart]]:
    """What each tensor of theirs consists of, in the order of its parts.

    Raises ValueError for a weight that has no name there.
    """
    names = published.names_of(config)
    heads = {name.theirs for own in published.heads.values() for name in own}
    parts: dict[str, list[TensorPart]] = {}
    own = {weight.name for weight in weights_of(config)}
    lacking = [
        n.theirs for n in names.values() if n.ours[:10] == "task_head/" and n.ours not in own
    ]
    if lacking:
        raise UserError(
            f"the head must have weights for {', '.join(lacking)}, because `transformers` would "
            "draw them at random; try another --model-type"
        )
    for weight in weights_of(config):
        name = named(weight, names)
        if name is None:
            raise UserError(
                f"weight {weight.name} must have a name in `transformers`, because it would be "
                "lost, but models of this type have none; try another --model-type"
            )
        for layer, theirs_name in enumerate(theirs(weight, names, config)):
            bare = config.head.kind == "embedding"
            prefix = "" if name.theirs in heads or bare else published.prefix
            part = TensorPart(weight, name, layer if weight.stacked else None)
            parts.setdefault(prefix + theirs_name, []).append(part)
    return {n: sorted(own, key=lambda p: p.name.part) for n, own in sorted(parts.items())}


def require_finite(name: str, dtype: str, whole: np.ndarray, small: np.ndarray) -> None:
    """Raise ValueError if a tensor has numbers that `dtype`, in which `small` is, cannot hold."""
    if not np.isfinite(small.astype(np.float32)).all():
        raise UserError(
            f"dtype={dtype} must hold every weight, because an overflow would be infinite, but "
            f"{name} goes up to {np.abs(whole).max():.3g}; try --dtype bfloat16"
        )


def _arrays(model: Any) -> Mapping[str, Callable[[int | None], np.ndarray]]:
    """What gives each weight, or a layer of it, whole on this host."""

    def whole(leaf: Any, layer: int | None) -> np.ndarray:
        array = leaf[...] if layer is None else leaf[...][layer]
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))

    def of(leaf: Any) -> Callable[[int | None], np.ndarray]:
        return lambda layer: whole(leaf, layer)

    return {name: of(leaf) for name, leaf in _leaves(model)}


def _leaves(model: Any) -> Iterator[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(
        model, is_leaf=lambda node: isinstance(node, nnx.Param)
    )
    for path, leaf in leaves:
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf
