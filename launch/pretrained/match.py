"""The weights of a model and the tensors of a checkpoint, put together."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from data.errors import UserError
from launch.pretrained.checkpoint import Pretrained
from launch.pretrained.tensors import Tensor, reshaped
from model.families.family import FamilyConfig
from model.head_config import HeadConfig
from model.published.names import Name
from model.weights import Weight, weights_of

LISTED = 10
"""Names in a message."""
FREE = {
    *("dtype", "remat", "attention", "convolutions", "head", "dropout", "drop_path"),
    *("init_std", "vocab_multiple"),
}
"""Fields of a model that its weights do not decide."""


STRETCHED = {"rope_scaling"}
"""What a run may have otherwise than its weights were trained with: for longer rows."""
RESIZED = "image_size"
"""A field that a run may have otherwise than its weights, of which those of places are then
interpolated."""
SCORED = ("task_head/table", "task_head/bias")
"""What a head scores by."""


class TensorPlace(NamedTuple):
    """Where a weight of ours comes from."""

    weight: Weight
    parts: tuple[Weight, ...]
    """What lies in the same tensors, in order; most are alone."""
    inputs_first: bool
    tensors: tuple[Tensor, ...]
    """Of each layer, or the only one."""

    @property
    def before(self) -> int:
        """Outputs of the tensor before its own."""
        return sum(map(outputs, self.parts[: self.parts.index(self.weight)]))


class Matched(NamedTuple):
    """The weights of a model and the tensors of a checkpoint, put together."""

    places: dict[str, TensorPlace]
    """Of images, for those of the checkpoint's size."""
    fresh: list[str]
    """Weights of ours that the checkpoint does not have, all of the head."""
    left: list[str]
    """Tensors of a head that the model has no use for."""
    added: range
    """Ids of tokens that are the model's alone, whose rows of tables are fresh."""


def match(pretrained: Pretrained, model: Any) -> Matched:
    """Where each weight of `model` comes from, which may have more tokens, and a head that is asked
    something else.

    Raises ValueError for a model of another architecture, for weights that are missing, unless they
    are a head's, and for tensors that nothing names.
    """
    rows = pretrained.model.vocabulary or 0
    added = range(rows, model.vocabulary or rows)
    known = replace(pretrained.model, vocab_size=model.vocab_size) if added else pretrained.model
    if size := getattr(model, RESIZED, None):
        known = replace(known, **{RESIZED: size})
    require_architecture(pretrained.path, known, model)
    if size:
        model = replace(model, **{RESIZED: getattr(pretrained.model, RESIZED)})
    published, names = pretrained.published, pretrained.published.names_of(model)
    places: dict[str, TensorPlace] = {}
    fresh, missing = [], []
    used: set[str] = set()
    for weight in weights_of(model):
        if weight.name in SCORED and _asks_otherwise(pretrained.model.head, model.head):
            fresh.append(weight.name)
            continue
        listed = [_tensor(pretrained, each) for each in theirs(weight, names, model)]
        used.update(tensor.name for tensor in listed if tensor is not None)
        name = named(weight, names)
        if name is not None and all(tensor is not None for tensor in listed):
            whole = tuple(tensor for tensor in listed if tensor is not None)
            parts = parts_of(weight, names, model)
            places[weight.name] = TensorPlace(weight, parts, published.inputs_first, whole)
        elif weight.name.startswith("task_head/"):
            fresh.append(weight.name)
        else:
            missing.append(weight.name)
    if missing:
        raise UserError(_missing(pretrained, model, missing, names))
    rest = sorted(pretrained.tensors.keys() - used)
    heads = {name.theirs for each in published.heads.values() for name in each}
    prefix = published.prefix
    left = [n for n in rest if heads & {n, prefix + n, n.removeprefix(prefix)}]
    unused = [re.compile(pattern) for pattern in published.unused]
    extra = [n for n in rest if n not in left and not any(p.fullmatch(n) for p in unused)]
    if extra:
        raise UserError(
            f"{pretrained.path} must hold no tensors but those of the model, because one that is "
            f"left out would change what it computes, but {len(extra):,} have no name here: "
            f"{', '.join(extra[:LISTED])}; try the checkpoint of another model"
        )
    for own, place in places.items():
        places[own] = _of_right_shapes(place, pretrained.model, named(place.weight, names))
    return Matched(places, fresh, left, added)


def _asks_otherwise(theirs: HeadConfig, ours: HeadConfig) -> bool:
    """Whether a head scores other things than that of a checkpoint."""
    return (theirs.kind, theirs.outputs) != (ours.kind, ours.outputs)


def named(weight: Weight, names: Mapping[str, Name]) -> Name | None:
    """The row of the table for a weight; a layer next to the stack has the stack's."""
    own = weight.name
    return names.get("blocks/" + own.partition("/")[2] if own.startswith("first/") else own)


def theirs(weight: Weight, names: Mapping[str, Name], model: Any) -> Iterator[str]:
    """The names of the tensors that hold a weight: of each layer of a stack, or one."""
    if (name := named(weight, names)) is None:
        return
    if weight.stacked:
        # A layer next to the stack is the first.
        first = any(other.name.startswith("first/") for other in weights_of(model))
        yield from (name.theirs.format(n) for n in range(first, first + weight.layers))
    else:
        yield name.theirs.format(0)


def _tensor(pretrained: Pretrained, name: str) -> Tensor | None:
    tensors, prefix = pretrained.tensors, pretrained.published.prefix
    return tensors.get(prefix + name) or tensors.get(name) or tensors.get(name.removeprefix(prefix))


def require_architecture(path: Path, theirs: FamilyConfig, model: FamilyConfig) -> None:
    """Raise ValueError for a field of `model` that weights of the model at a path do not allow."""
    free = FREE if theirs.last_position is not None else FREE | {"max_length"}
    if (name := first_difference(model, theirs, free | STRETCHED)) is not None:
        own, value = getattr(model, name, None), getattr(theirs, name)
        raise UserError(
            f"model.{name}={own} must be {value}, because {path} has weights of that architecture; "
            f"try without --model.{name.replace('_', '-')}"
        )


def first_difference(model: Any, wanted: Any, free: Set[str] = FREE) -> str | None:
    """The first field of `wanted` in which a model differs from it, but for those of `free`."""
    ours = vars(model)
    names = (name for name in vars(wanted) if name not in free)
    return next((name for name in names if ours.get(name) != getattr(wanted, name)), None)


def _missing(
    pretrained: Pretrained, model: Any, missing: list[str], names: Mapping[str, Name]
) -> str:
    listed = {weight.name: weight for weight in weights_of(model)}
    absent = [
        each
        for name in missing
        for each in list(theirs(listed[name], names, model)) or [name]
        if _tensor(pretrained, each) is None
    ]
    return (
        f"{pretrained.path} must hold every weight of the model, because none is made up, but "
        f"{len(absent):,} tensors are missing: {', '.join(absent[:LISTED])}; it has "
        f"{len(pretrained.tensors):,} others, such as "
        f"{', '.join(sorted(pretrained.tensors)[:3])}; try the checkpoint of another model"
    )


def _of_right_shapes(place: TensorPlace, model: Any, name: Name | None) -> TensorPlace:
    """The place with its tensors as vectors, or as rows and columns; ValueError for other shapes
    than the model's."""
    flat = their_shape(place.parts, model, inputs_first=place.inputs_first)
    wanted = flat if name is None or name.shape is None else name.shape(place.weight.shape)
    for tensor in place.tensors:
        if tensor.shape != wanted:
            raise UserError(
                f"{tensor.path}: {tensor.name} must have the shape {wanted}, because the model's "
                f"config.json says so, but it has {tensor.shape}; try the config that came with "
                "the weights"
            )
    if wanted == flat:
        return place
    return place._replace(tensors=tuple(reshaped(tensor, flat) for tensor in place.tensors))


def parts_of(weight: Weight, names: Mapping[str, Name], model: Any) -> tuple[Weight, ...]:
    """The weights that lie in the same tensors as this, in their order."""
    own, place = named(weight, names), weight.name.partition("/")[0]
    assert own is not None
    shared = {
        name.part: other
        for other in weights_of(model)
        if (name := named(other, names)) is not None
        and name.theirs == own.theirs
        and other.name.partition("/")[0] == place
    }
    return tuple(shared[part] for part in sorted(shared))


def outputs(weight: Weight) -> int:
    """Numbers that it produces: of a vector, all it has."""
    return weight.channels(weight.fan_out if weight.is_matrix else (*range(len(weight.shape)),))


def their_shape(parts: Sequence[Weight], model: Any, *, inputs_first: bool) -> tuple[int, ...]:
    """The shape of the tensor that holds these weights: padding of the vocabulary is ours alone."""
    first = parts[0]
    rows = [
        model.vocab_size if axis == "vocab" else size
        for axis, size in zip(first.logical, first.shape, strict=True)
    ]
    if first.is_table:
        return tuple(rows)
    if not first.is_matrix:
        return (math.prod(rows) if len(parts) == 1 else sum(map(outputs, parts)),)
    ins, outs = first.channels(first.fan_in), sum(map(outputs, parts))
    if first.window:
        sizes = tuple(first.shape[d] for d in first.window)
        return (outs, ins // math.prod(sizes), *sizes)
    return (ins, outs) if inputs_first else (outs, ins)
