"""A pretrained checkpoint that is opened: its architecture, its tensors, its tokenizer."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.errors import UserError
from launch.pretrained import hub
from launch.pretrained.batch_norm import folded
from launch.pretrained.gguf.read import open_gguf
from launch.pretrained.safetensors import open_folder
from launch.pretrained.tensors import RawTensor, Tensors
from launch.pretrained.text_part import text_fields, text_tensors
from model.head_config import HeadConfig
from model.published import PUBLISHED
from model.published.fields import Fields
from model.published.names import Published

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

    spec: str
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
    start: int | None = None
    """The token before all targets, if it names one; of an encoder-decoder."""
    others: tuple[str, ...] = ()
    """Tensors of parts that are no language model, which are not read."""


def open_pretrained(spec: str) -> Pretrained:
    """The checkpoint of a spec: `hf:DIRECTORY`, `hf:ORG/NAME` or `gguf:FILE`.

    Raises ValueError if there is none, or of an architecture that is not ours.
    """
    kind, _, where = spec.partition(":")
    if kind not in KINDS or not where:
        raise UserError(
            f"start_from={spec!r} must be hf:DIRECTORY, hf:ORG/NAME or gguf:FILE, because weights "
            "are read from there; try hf: and the folder that has config.json and model.safetensors"
        )
    path = Path(where).expanduser()
    if kind == "gguf":
        values, tensors, tokenizer = open_gguf(path)
        fields = Fields(values, str(path))
    else:
        path = hub.snapshot(where) if hub.is_name(where) else path
        values, tensors, tokenizer = _values(path), None, None
        fields = Fields(text_fields(values), str(path / "config.json"))
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
    fields.require_all_read((*published.neutral, *_neutral_here(published, fields)))
    others: list[str] = []
    if tensors is None:
        tensors = open_folder(path)
        if fields.values is not values:
            tensors, others = text_tensors(tensors)
        tensors = _renamed(tensors, published.renamed)
        if published.batch_norm is not None:
            tensors = folded(tensors, published.batch_norm)
        named = (path / name for name in TOKENIZERS)
        tokenizer = next((each for each in named if each.is_file()), None)
    digest = hashlib.sha256(repr(sorted(fields.values.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.shape} {tensor.path.stat().st_size}".encode())
    return Pretrained(
        spec=spec,
        path=path,
        published=published,
        model=replace(model, head=head),
        tensors=tensors,
        labels=labels,
        task=_task(fields, head),
        digest=digest.hexdigest(),
        tokenizer=tokenizer,
        start=fields.get("decoder_start_token_id"),
        others=tuple(others),
    )


def _renamed(tensors: Mapping[str, RawTensor], endings: Mapping[str, str]) -> dict[str, RawTensor]:
    """The tensors by the names that they have since."""
    out = {}
    for name, tensor in tensors.items():
        for before, since in endings.items():
            if name.endswith(before):
                name = name.removesuffix(before) + since
        out[name] = tensor._replace(name=name)
    return out


def _neutral_here(published: Published, fields: Fields) -> tuple[str, ...]:
    """The program that came with a model, which is not run, where its class is one of
    `transformers` by now."""
    known = set(fields.get("architectures", [])) & set(published.classes.values())
    return ("auto_map",) if known else ()


def absolute(spec: str) -> str:
    """The spec, so that it means the same from every working directory, and tomorrow: a name of a
    hub with its commit."""
    kind, _, where = spec.partition(":")
    if kind not in KINDS:
        return str(Path(spec).expanduser().absolute())
    if kind == "hf" and hub.is_name(where):
        return f"hf:{hub.pinned(where)}"
    return f"{kind}:{Path(where).expanduser().absolute()}"


def _values(folder: Path) -> Mapping[str, Any]:
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
    return values


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
