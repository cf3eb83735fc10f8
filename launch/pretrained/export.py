"""Weights of ours in the form of `transformers`: safetensors in shards, config.json, tokenizer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data import durable
from data.errors import UserError
from launch.pretrained.batch_norm import unit_statistics
from launch.pretrained.checkpoint import usual_head
from launch.pretrained.gathered import Gathered, require_finite
from launch.pretrained.match import first_difference
from launch.pretrained.safetensors import INDEX, TYPES, WHOLE, WrittenArray, write_file
from model.published import PUBLISHED
from model.published.fields import Fields

LARGEST_SHARD = 5_000_000_000
"""Bytes of a file."""
DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


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
    tensors = Gathered(model, published)
    statistics = unit_statistics(tensors.shapes, config, published)
    entries = [
        WrittenArray(name, TYPES[DTYPES[dtype]], shape) for name, shape in tensors.shapes.items()
    ]
    entries += [WrittenArray(name, array.dtype, array.shape) for name, array in statistics.items()]
    shards = shards_of(entries, largest)
    names = _file_names(len(shards))

    def array_of(entry: WrittenArray) -> np.ndarray:
        if entry.name in statistics:
            return statistics[entry.name]
        whole = tensors.read(entry.name)
        with np.errstate(over="ignore"):
            small = whole.astype(entry.dtype)
        require_finite(entry.name, dtype, whole, small)
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
    if config.kind != published.family.kind:
        raise UserError(
            f"model.kind={config.kind} must be {published.family.kind}, because a {model_type} is "
            "of that family; try another --model-type"
        )
    kind = config.head.kind
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


def _file_names(count: int) -> list[str]:
    if count == 1:
        return [WHOLE]
    return [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)]
