"""A pretrained checkpoint: its architecture, its tensors, and what each weight of ours is called
there."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from data.errors import UserError
from launch.pretrained.gguf import open_gguf
from launch.pretrained.safetensors import open_folder
from launch.pretrained.tensors import Tensor, Tensors
from model.families.family import FamilyConfig
from model.head_config import HeadConfig
from model.published import PUBLISHED
from model.published.fields import Fields
from model.published.names import Name, Published
from model.weights import Weight, weights_of

LISTED = 10
"""Names in a message."""
FREE = {"dtype", "remat", "attention", "head", "dropout", "init_std", "vocab_multiple"}
"""Fields of a model that its weights do not decide."""
KINDS = ("hf", "gguf")
"""What a spec begins with."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model")
TASKS = {
    "single_label_classification": "one",
    "multi_label_classification": "several",
    "regression": "number",
}
"""`problem_type` of config.json."""
POOLINGS = {"cls": "first", "mean": "mean"}


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A checkpoint that is opened but not read."""

    path: Path
    published: Published
    model: Any
    """Its architecture, with the head that it was published with."""
    tensors: Tensors
    labels: tuple[str, ...]
    """What its labels or tags are called; empty without any."""
    task: str
    """What is asked of its labels, as `data.examples_config.LabelledConfig.task`."""
    digest: str
    """Of its config and of the headers of its files: what it is, not every byte."""
    tokenizer: Path | None
    """Its tokenizer, if one lies with it."""


def open_pretrained(spec: str) -> Pretrained:
    """The checkpoint of a spec, `hf:DIRECTORY` or `gguf:FILE`; ValueError if there is none, or of
    an architecture that is not ours."""
    kind, _, where = spec.partition(":")
    if kind not in KINDS or not where:
        raise UserError(
            f"start_from={spec!r} must be hf:DIRECTORY or gguf:FILE, because weights are read from "
            "there; try hf: and the folder that has config.json and model.safetensors"
        )
    path = Path(where).expanduser()
    if kind == "gguf":
        values, tensors, tokenizer = open_gguf(path)
        fields = Fields(values, str(path))
    else:
        fields, tensors, tokenizer = _fields(path), None, None
    model_type = fields.get("model_type", "")
    if (published := PUBLISHED.get(model_type)) is None:
        raise UserError(
            f"{fields.path}: model_type={model_type!r} must be one of {', '.join(PUBLISHED)}, "
            "because these have their names here; try a checkpoint of one of them, or writing it "
            "into that file if it is one"
        )
    model = published.config_of(fields)
    head = _head(published, fields, model)
    labels = _labels(fields)
    if len(labels) != head.outputs:
        labels = tuple(f"LABEL_{number}" for number in range(head.outputs))
    fields.require_all_read(published.neutral)
    if tensors is None:
        tensors = open_folder(path)
        named = (path / name for name in TOKENIZERS)
        tokenizer = next((each for each in named if each.is_file()), None)
    digest = hashlib.sha256(repr(sorted(fields.values.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.shape} {tensor.path.stat().st_size}".encode())
    return Pretrained(
        path=path,
        published=published,
        model=replace(model, head=head),
        tensors=tensors,
        labels=labels,
        task=_task(fields, head),
        digest=digest.hexdigest(),
        tokenizer=tokenizer,
    )


def absolute(spec: str) -> str:
    """The spec, so that it means the same from every working directory."""
    kind, _, where = spec.partition(":")
    return f"{kind}:{Path(where).expanduser().absolute()}"


def _fields(folder: Path) -> Fields:
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(
            f"start_from=hf:{folder} must be a folder with a config.json, because that says what "
            "the weights are of, but there is none; try the folder that was downloaded"
        )
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} must be JSON, but it is not ({error}); fetch it again") from error
    if not isinstance(values, Mapping):
        raise UserError(f"{path} must be a JSON object of fields; fetch it again")
    return Fields(values, str(path))


def _head(published: Published, fields: Fields, model: Any) -> HeadConfig:
    kind: Any = published.head_kind(fields.get("architectures", []))
    pooling: Any = fields.choose("classifier_pooling", POOLINGS, "cls")
    if kind == "embedding":
        pooling = _pooling(Path(fields.path).parent)
    counted = kind in ("labels", "tags")
    outputs = fields.get("num_labels", len(fields.get("id2label", {})) or 2) if counted else 0
    head = usual_head(published, model, HeadConfig(kind=kind, outputs=outputs))
    said = kind == "embedding" or (kind == "labels" and pooling in published.poolings)
    return replace(head, pooling=pooling) if said else head


def usual_head(published: Published, model: Any, head: HeadConfig) -> HeadConfig:
    """The head as models of that kind have it: pooled and transformed their way."""
    if head.kind == "embedding":
        return replace(head, pooling="mean")
    transform: Any = published.transforms.get(head.kind, "none")
    pooling: Any = published.poolings[0] if head.kind == "labels" else "first"
    return replace(head, pooling=pooling, transform=transform)


def _labels(fields: Fields) -> tuple[str, ...]:
    """The names of the labels by their numbers; ValueError if a number has none."""
    names: Mapping[str, Any] = fields.get("id2label", {})
    try:
        numbered = {int(number): str(name) for number, name in names.items()}
    except ValueError:
        numbered = {}
    if sorted(numbered) != list(range(len(names))):
        raise UserError(
            f"{fields.path}: id2label must name the labels 0 to {len(names) - 1}, because scores "
            f"come in that order, but it has {', '.join(map(str, names))[:200]}; try mending it"
        )
    return tuple(numbered[number] for number in range(len(names)))


def _task(fields: Fields, head: HeadConfig) -> str:
    """What is asked of labels: `one`, `several`, or a `number`."""
    kind = fields.get("problem_type")
    if head.kind == "labels" and head.outputs == 1 and kind is None:
        return "number"
    return TASKS[fields.require("problem_type", *TASKS) if kind else "single_label_classification"]


def _pooling(folder: Path) -> str:
    """How a sentence encoder pools, as the files of `sentence-transformers` next to it say; the
    mean where there are none."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    modes = json.loads(path.read_bytes())
    on = [name for name in modes if name.startswith("pooling_mode_") and modes[name] is True]
    if on == ["pooling_mode_cls_token"]:
        return "first"
    if on != ["pooling_mode_mean_tokens"] or (folder / "2_Dense").exists():
        raise UserError(
            f"{path}: {', '.join(on)} must be pooling_mode_mean_tokens or pooling_mode_cls_token "
            "alone, with no dense layer after it, because embeddings are pooled so here; try "
            "another checkpoint"
        )
    return "mean"


class TensorPlace(NamedTuple):
    """Where a weight of ours comes from."""

    weight: Weight
    name: Name
    inputs_first: bool
    tensors: tuple[Tensor, ...]
    """Of each layer, or the only one."""


class Matched(NamedTuple):
    """The weights of a model and the tensors of a checkpoint, put together."""

    places: dict[str, TensorPlace]
    fresh: list[str]
    """Weights of ours that the checkpoint does not have, all of the head."""
    left: list[str]
    """Tensors of a head that the model has no use for."""


def match(pretrained: Pretrained, model: Any) -> Matched:
    """Where each weight of `model` comes from.

    Raises ValueError for a model of another architecture, for weights that are missing, unless they
    are a head's, and for tensors that nothing names.
    """
    _require_architecture(pretrained, model)
    if model.kind == "decoder" and model.table_rows != model.vocab_size:
        raise UserError(
            f"model.vocab_multiple={model.vocab_multiple} must divide "
            f"model.vocab_size={model.vocab_size} with pretrained weights, because rows that pad "
            "the table would take part in the softmax; try --model.vocab-multiple 1 and a "
            "--mesh.tensor that divides the vocabulary"
        )
    published, names = pretrained.published, pretrained.published.names_of(model)
    places: dict[str, TensorPlace] = {}
    fresh, missing = [], []
    used: set[str] = set()
    for weight in weights_of(model):
        listed = [_tensor(pretrained, each) for each in theirs(weight, names, model.depth)]
        used.update(tensor.name for tensor in listed if tensor is not None)
        name = named(weight, names)
        if name is not None and all(tensor is not None for tensor in listed):
            whole = tuple(tensor for tensor in listed if tensor is not None)
            places[weight.name] = TensorPlace(weight, name, published.inputs_first, whole)
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
    for place in places.values():
        _require_shapes(place, model)
    return Matched(places, fresh, left)


def named(weight: Weight, names: Mapping[str, Name]) -> Name | None:
    """The row of the table for a weight; a layer next to the stack has the stack's."""
    own = weight.name
    return names.get("blocks/" + own.partition("/")[2] if own.startswith("first/") else own)


def theirs(weight: Weight, names: Mapping[str, Name], depth: int) -> Iterator[str]:
    """The names of the tensors that hold a weight: of each layer of a stack, or one."""
    if (name := named(weight, names)) is None:
        return
    if weight.stacked:
        # A layer next to the stack is the first.
        yield from (name.theirs.format(n) for n in range(depth - weight.layers, depth))
    else:
        yield name.theirs.format(0)


def _tensor(pretrained: Pretrained, name: str) -> Tensor | None:
    tensors, prefix = pretrained.tensors, pretrained.published.prefix
    return tensors.get(prefix + name) or tensors.get(name) or tensors.get(name.removeprefix(prefix))


def _require_architecture(pretrained: Pretrained, model: FamilyConfig) -> None:
    published, ours = vars(pretrained.model), vars(model)
    free = FREE if pretrained.model.last_position is not None else FREE | {"max_length"}
    for name, value in published.items():
        if name not in free and ours.get(name) != value:
            raise UserError(
                f"model.{name}={ours.get(name)} must be {value}, because {pretrained.path} has "
                f"weights of that architecture; try without --model.{name.replace('_', '-')}"
            )


def _missing(
    pretrained: Pretrained, model: Any, missing: list[str], names: Mapping[str, Name]
) -> str:
    listed = {weight.name: weight for weight in weights_of(model)}
    absent = [
        each
        for name in missing
        for each in list(theirs(listed[name], names, model.depth)) or [name]
        if _tensor(pretrained, each) is None
    ]
    return (
        f"{pretrained.path} must hold every weight of the model, because none is made up, but "
        f"{len(absent):,} tensors are missing: {', '.join(absent[:LISTED])}; it has "
        f"{len(pretrained.tensors):,} others, such as "
        f"{', '.join(sorted(pretrained.tensors)[:3])}; try the checkpoint of another model"
    )


def _require_shapes(place: TensorPlace, model: Any) -> None:
    wanted = their_shape(place.weight, place.name, model, inputs_first=place.inputs_first)
    for tensor in place.tensors:
        if tensor.shape != wanted:
            raise UserError(
                f"{tensor.path}: {tensor.name} must have the shape {wanted}, because the model's "
                f"config.json says so, but it has {tensor.shape}; try the config that came with "
                "the weights"
            )


def their_shape(weight: Weight, name: Name, model: Any, *, inputs_first: bool) -> tuple[int, ...]:
    """The shape of the tensor that holds a weight: padding of the vocabulary is ours alone."""
    rows = [
        model.vocab_size if axis == "vocab" else size
        for axis, size in zip(weight.logical, weight.shape, strict=True)
    ]
    if weight.is_table:
        return tuple(rows)
    if not weight.is_matrix:
        return (math.prod(rows) * name.parts,)
    ins, outs = weight.channels(weight.fan_in), weight.channels(weight.fan_out) * name.parts
    return (ins, outs) if inputs_first else (outs, ins)
