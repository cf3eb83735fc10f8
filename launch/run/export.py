"""Exporting: a run's checkpoint in the form of `transformers`, or of llama.cpp."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from data import durable
from data.errors import UserError
from launch.config import MeshConfig
from launch.pretrained.checkpoint import TASKS
from launch.pretrained.export import DTYPES, config_json, export_weights
from launch.pretrained.gguf.write import TYPES, export_gguf
from launch.pretrained.image_files import FILE as IMAGES
from launch.pretrained.image_files import preprocessor
from launch.pretrained.tokenizer_files import TokenizerFiles
from launch.pretrained.verify import require_transformers, verify_export
from launch.process.distributed import from_first_process
from launch.run.card import card, exported_parameters
from launch.run.saved import MovedTokenizer, Saved, open_saved
from model.published import PUBLISHED


class Asked(NamedTuple):
    """How a checkpoint is to be written."""

    run: Path
    model_type: str
    dtype: str
    verify: bool


class Form(NamedTuple):
    """A form that checkpoints are written in."""

    is_folder: bool
    dtypes: tuple[str, ...]
    write: Callable[[Saved, Path, Asked], list[str]]
    """Write a checkpoint at a new path; returns what else is to be said, in lines."""


def export(
    run: Path,
    output: str,
    *,
    model_type: str | None = None,
    dtype: str = "float32",
    verify: bool = False,
    step: int | None = None,
    data: MovedTokenizer = MovedTokenizer(),  # noqa: B008 - frozen
    mesh: MeshConfig = MeshConfig(),  # noqa: B008
) -> list[str]:
    """Write the weights of a run, its architecture and its tokenizer to `hf:DIRECTORY` or
    `gguf:FILE`, whole or not at all; returns what was written, in lines.

    With `verify`, nothing is there unless `transformers` computes the same from it. Raises
    ValueError for an output that exists, for an architecture that no published kind has, and for
    weights that the type cannot hold.
    """
    kind, _, where = output.partition(":")
    form, path = FORMS[kind], Path(where).expanduser().absolute()
    _require_free(form, output, path)
    if verify:
        _require_verifiable(form)
    for name, value, known in (
        ("dtype", dtype, form.dtypes),
        ("model_type", model_type, (None, *PUBLISHED)),
    ):
        if value not in known:
            raise UserError(
                f"{name}={value} must be one of {', '.join(each for each in known if each)}, "
                f"because {kind}: is written in these here; try one of them"
            )
    with open_saved(run, step, mesh, data) as saved:
        asked = Asked(run, model_type or type_of(saved.state.evaluated.config), dtype, verify)
        first = jax.process_index() == 0
        path.parent.mkdir(parents=True, exist_ok=True)
        place = Path(
            from_first_process(lambda: tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        )
        try:
            more = form.write(saved, place / path.name, asked)
            if first:
                _require_free(form, output, path)
                os.replace(place / path.name, path)
        finally:
            if first:
                shutil.rmtree(place, ignore_errors=True)
    if not first:
        return []
    count = exported_parameters(saved.config.model)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [
        f"{path}: {asked.model_type}, {count:,} parameters in {dtype}, step {saved.step}",
        *more,
        *(f"  {file.name:<36}{file.stat().st_size:>16,}" for file in files),
    ]


def type_of(config: object) -> str:
    """The first published kind that can say an architecture; ValueError if none can."""
    reasons = []
    for model_type in PUBLISHED:
        try:
            config_json(config, model_type, "float32")
            return model_type
        except UserError as error:
            reasons.append(f"{model_type}: {error}")
    raise UserError(
        "model must be of an architecture that `transformers` has, because it is written for that, "
        "but it is none of these:\n  " + "\n  ".join(reasons)
    )


def write_folder(saved: Saved, folder: Path, asked: Asked) -> list[str]:
    """Write the form of `transformers`: safetensors, config.json, tokenizer, card."""
    model, files = saved.state.evaluated, files_of(saved)
    images = saved.config.data if hasattr(saved.config.data, "image_size") else None
    export_weights(model, folder, asked.model_type, asked.dtype, extra=known_of(saved, files))

    def write_rest() -> str:
        if files:
            files.write(folder)
        if images is not None:
            durable.write(folder / IMAGES, json.dumps(preprocessor(images), indent=2) + "\n")
        durable.write(folder / "README.md", card(asked.run, saved, asked.dtype))
        return ""

    from_first_process(write_rest)
    bytewise = saved.config.model.vocabulary is not None and not (files and files.written)
    lines = ["no tokenizer file, as its tokens are bytes"] if bytewise else []
    if asked.verify:
        verified = verify_export(model, folder, saved.tokenizer)
        lines.append(
            f"verified: scores of {verified.inputs} by transformers are within "
            f"{verified.distance:.1e} of the largest"
        )
    return lines


def write_file(saved: Saved, path: Path, asked: Asked) -> list[str]:
    """Write the form of llama.cpp: one file."""
    files = files_of(saved)
    if files is None or not saved.config.model.generates:
        raise UserError(
            f"model.kind={saved.config.model.kind} must write text, because GGUF is written for "
            "models that do; try hf:DIRECTORY"
        )
    name = asked.run.name or asked.run.absolute().name
    model = saved.state.evaluated
    export_gguf(model, path, asked.model_type, asked.dtype, files, name)
    return []


def files_of(saved: Saved) -> TokenizerFiles | None:
    """The files of the run's tokenizer, if it has one."""
    if saved.tokenizer is None:
        return None
    model: Any = saved.config.model
    name = getattr(saved.config.data, "tokenizer", "bytes")
    return TokenizerFiles(saved.tokenizer, name, model.generates, model.max_length)


def known_of(saved: Saved, files: TokenizerFiles | None) -> dict[str, Any]:
    """What data and tokenizer add to a config.json: names of labels, and the tokens between
    documents of a decoder, or before and after the targets of an encoder-decoder."""
    fields: dict[str, Any] = files.config_fields() if files else {}
    if saved.config.model.kind == "encoder_decoder" and (tokenizer := saved.tokenizer):
        begin, end = tokenizer.begin.id, tokenizer.end.id
        fields |= {"decoder_start_token_id": begin, "pad_token_id": begin, "eos_token_id": end}
    if task := getattr(saved.config.data, "task", None):
        fields["problem_type"] = next(kind for kind, ours in TASKS.items() if ours == task)
    if names := saved.meta.get("names"):
        fields["id2label"] = {str(number): name for number, name in enumerate(names)}
        fields["label2id"] = {name: number for number, name in enumerate(names)}
    return fields


FORMS: Mapping[str, Form] = {
    "hf": Form(True, tuple(DTYPES), write_folder),
    "gguf": Form(False, tuple(TYPES), write_file),
}
"""By what an output begins with."""


def _require_free(form: Form, output: str, path: Path) -> None:
    is_empty = form.is_folder and path.is_dir() and not any(path.iterdir())
    if path.exists() and not is_empty:
        what = "folder, or an empty one" if form.is_folder else "file"
        raise UserError(
            f"output={output} must be a new {what}, because nothing is overwritten, but something "
            "is there; try another name"
        )


def _require_verifiable(form: Form) -> None:
    if not form.is_folder:
        raise UserError(
            "verify=True must come with hf:DIRECTORY, because `transformers` reads that; try "
            "without --verify"
        )
    require_transformers()
