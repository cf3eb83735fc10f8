"""Weights of ours in the form of `transformers`: safetensors in shards, config.json, tokenizer."""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils

from data import durable
from data.errors import UserError
from launch.pretrained.checkpoint import usual_head
from launch.pretrained.match import first_difference, named, their_shape, theirs
from launch.pretrained.safetensors import INDEX, TYPES, WHOLE, WrittenArray, write_file
from model.published import PUBLISHED
from model.published.fields import Fields
from model.published.names import Name, Published
from model.weights import Weight, weights_of

LARGEST_SHARD = 5_000_000_000
"""Bytes of a file."""
DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
COMPANIONS = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt"),
    *("vocab.json", "merges.txt", "generation_config.json", "chat_template.jinja"),
)
"""Files next to a tokenizer that belong to it."""


class TensorPart(NamedTuple):
    """A weight of ours, of one layer, in a tensor of theirs."""

    weight: Weight
    name: Name
    layer: int | None
    """Its number in the stack."""


def export_weights(
    model: Any,
    folder: Path,
    model_type: str,
    dtype: str,
    *,
    extra: Mapping[str, Any] = {},
    largest: int = LARGEST_SHARD,
) -> dict[str, Any]:
    """Write the weights and the config.json of a model; returns the config, with what is `extra`.

    All processes take part, and the first writes. Raises ValueError for an architecture that
    `model_type` cannot say, and for weights that are too large for the type.
    """
    config, published = model.config, PUBLISHED[model_type]
    fields = {**config_json(config, model_type, dtype), **extra}
    pieces = pieces_of(config, published)
    entries = [
        WrittenArray(name, TYPES[DTYPES[dtype]], _shape(own, config, published))
        for name, own in pieces.items()
    ]
    arrays = _arrays(model)
    shards = shards_of(entries, largest)
    names = _file_names(len(shards))

    def array_of(entry: WrittenArray) -> np.ndarray:
        parts = [_part(arrays, piece, entry, published) for piece in pieces[entry.name]]
        whole = np.concatenate(parts, axis=_part_axis(published, entry)) if parts[1:] else parts[0]
        with np.errstate(over="ignore"):
            small = whole.astype(entry.dtype)
        if not np.isfinite(small.astype(np.float32)).all():
            raise UserError(
                f"dtype={dtype} must hold every weight, because an overflow would be infinite, but "
                f"{entry.name} goes up to {np.abs(whole).max():.3g}; try --dtype bfloat16"
            )
        return small

    first = jax.process_index() == 0
    if first:
        folder.mkdir(parents=True, exist_ok=True)
    for file, shard in zip(names, shards, strict=True):
        if first:
            write_file(folder / file, shard, array_of)
        else:
            for entry in shard:
                array_of(entry)
    if first:
        if len(shards) > 1:
            places = {e.name: f for f, s in zip(names, shards, strict=True) for e in s}
            total = {"total_size": sum(entry.size for entry in entries)}
            index = {"metadata": total, "weight_map": dict(sorted(places.items()))}
            durable.write(folder / INDEX, json.dumps(index, indent=2) + "\n")
        durable.write(folder / "config.json", json.dumps(fields, indent=2) + "\n")
    return fields


def config_json(config: Any, model_type: str, dtype: str) -> dict[str, Any]:
    """The fields of config.json."""
    published = PUBLISHED[model_type]
    kind = config.head.kind
    if config.kind != published.family.kind:
        raise UserError(
            f"model.kind={config.kind} must be {published.family.kind}, because a {model_type} is "
            "of that family; try another --model-type"
        )
    if kind not in published.classes:
        raise UserError(
            f"model.head.kind={kind} must be one of {', '.join(published.classes)} for "
            f"{model_type}, because `transformers` has no such head for it; try another model type"
        )
    usual, head = usual_head(published, config, config.head), config.head
    pooled = kind != "labels" or head.pooling in published.poolings
    for name, right in (("pooling", pooled), ("transform", head.transform == usual.transform)):
        if not right:
            raise UserError(
                f"model.head.{name}={getattr(head, name)} must be {getattr(usual, name)} for "
                f"{model_type}, because its class {published.classes[kind]} computes that; try "
                f"training with --model.head.{name} {getattr(usual, name)}"
            )
    labels = {"num_labels": config.head.outputs} if config.head.outputs else {}
    fields = published.fields_of(config)
    read = published.config_of(Fields(fields, f"config.json of {model_type}"))
    if (name := first_difference(config, read)) is not None:
        raise UserError(
            f"model.{name}={getattr(config, name)} must be {getattr(read, name)}, because "
            f"config.json of a {model_type} cannot say anything else; try another --model-type"
        )
    return {
        "architectures": [published.classes[kind]],
        "model_type": model_type,
        "torch_dtype": dtype,
        "dtype": dtype,
        **fields,
        **labels,
    }


def pieces_of(config: Any, published: Published) -> dict[str, list[TensorPart]]:
    """What each tensor of theirs consists of, in the order of its parts.

    Raises ValueError for a weight that has no name there.
    """
    names = published.names_of(config)
    heads = {name.theirs for own in published.heads.values() for name in own}
    pieces: dict[str, list[TensorPart]] = {}
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
        for layer, theirs_name in enumerate(theirs(weight, names, config.depth)):
            bare = config.head.kind == "embedding"
            prefix = "" if name.theirs in heads or bare else published.prefix
            piece = TensorPart(weight, name, layer if weight.stacked else None)
            pieces.setdefault(prefix + theirs_name, []).append(piece)
    return {n: sorted(own, key=lambda p: p.name.part) for n, own in sorted(pieces.items())}


def shards_of(entries: list[WrittenArray], largest: int) -> list[list[WrittenArray]]:
    """The arrays in their order, in files of at most so many bytes unless one alone has more."""
    shards: list[list[WrittenArray]] = [[]]
    room = largest
    for entry in entries:
        if entry.size > room and shards[-1]:
            shards.append([])
            room = largest
        shards[-1].append(entry)
        room -= entry.size
    return shards


def copy_tokenizer(tokenizer: Path, folder: Path) -> list[str]:
    """Copy a tokenizer and what lies with it; returns the names of the copies."""
    beside = [tokenizer.parent / name for name in COMPANIONS]
    files = [tokenizer, *(path for path in beside if path.is_file())]
    for path in files:
        shutil.copyfile(path, folder / path.name)
    return [path.name for path in files]


def _arrays(model: Any) -> Mapping[str, Callable[[int | None], np.ndarray]]:
    """What gives each weight, or a layer of it, whole on this host."""
    leaves = jax.tree_util.tree_leaves_with_path(
        model, is_leaf=lambda node: isinstance(node, nnx.Param)
    )

    def whole(leaf: Any, layer: int | None) -> np.ndarray:
        array = leaf[...] if layer is None else leaf[...][layer]
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))

    def of(leaf: Any) -> Callable[[int | None], np.ndarray]:
        return lambda layer: whole(leaf, layer)

    return {jax.tree_util.keystr(p, simple=True, separator="/"): of(leaf) for p, leaf in leaves}


def _part(
    arrays: Mapping[str, Callable[[int | None], np.ndarray]],
    piece: TensorPart,
    entry: WrittenArray,
    published: Published,
) -> np.ndarray:
    """A weight as theirs has it: its matrix turned, its dimensions flat, its padding cut."""
    weight, array = piece.weight, arrays[piece.weight.name](piece.layer)
    if weight.is_table:
        return array[: entry.shape[0]]
    if not weight.is_matrix:
        return array.reshape(-1)[: entry.shape[0]]
    ins = math.prod(array.shape[: len(weight.fan_in)])
    matrix = array.reshape(ins, -1)
    return matrix if published.inputs_first else matrix.T


def _part_axis(published: Published, entry: WrittenArray) -> int:
    return 1 if published.inputs_first and len(entry.shape) == 2 else 0


def _shape(own: list[TensorPart], config: Any, published: Published) -> tuple[int, ...]:
    parts = [piece.weight for piece in own]
    return their_shape(parts, config, inputs_first=published.inputs_first)


def _file_names(count: int) -> list[str]:
    if count == 1:
        return [WHOLE]
    return [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)]
