"""Exporting: a run's checkpoint in the form of `transformers`."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax

from data import durable
from data.errors import UserError
from launch.config import MeshConfig
from launch.pretrained.checkpoint import TASKS
from launch.pretrained.export import config_json, copy_tokenizer, export_weights
from launch.process.distributed import from_first_process
from launch.run.saved import MovedTokenizer, Saved, open_saved
from model.flops import parameter_count
from model.published import PUBLISHED


def export(
    run: Path,
    folder: Path,
    *,
    model_type: str | None = None,
    dtype: str = "float32",
    step: int | None = None,
    data: MovedTokenizer = MovedTokenizer(),  # noqa: B008 - frozen
    mesh: MeshConfig = MeshConfig(),  # noqa: B008
) -> list[str]:
    """Write the weights of a run, its config and its tokenizer into a new folder, whole or not at
    all; returns what was written, in lines.

    Raises ValueError for a folder that holds something, for an architecture that no published kind
    has, and for weights that the type cannot hold.
    """
    folder = folder.expanduser().absolute()
    _require_free(folder)
    if model_type is not None and model_type not in PUBLISHED:
        raise UserError(
            f"model_type={model_type} must be one of {', '.join(PUBLISHED)}, because these have "
            "their names here; try without, which takes the first that can say the architecture"
        )
    with open_saved(run, step, mesh, data) as saved:
        model_type = model_type or type_of(saved.state.evaluated.config)
        place = from_first_process(
            lambda: tempfile.mkdtemp(prefix=f".{folder.name}-", dir=_parent(folder))
        )
        try:
            export_weights(
                saved.state.evaluated, Path(place), model_type, dtype, extra=known_of(saved)
            )
            if jax.process_index() == 0:
                lines = _finish(run, saved, Path(place), folder, model_type, dtype)
            else:
                lines = []
        except BaseException:
            if jax.process_index() == 0:
                shutil.rmtree(place, ignore_errors=True)
            raise
    return lines


def known_of(saved: Saved) -> dict[str, Any]:
    """What data and tokenizer add to a config.json: names of labels, and the tokens between
    documents of a decoder."""
    fields: dict[str, Any] = {}
    if saved.config.model.generates and saved.tokenizer is not None:
        begin, end = saved.tokenizer.begin, saved.tokenizer.end
        fields |= {"bos_token_id": begin.id, "eos_token_id": end.id}
    if task := getattr(saved.config.data, "task", None):
        fields["problem_type"] = next(kind for kind, ours in TASKS.items() if ours == task)
    if names := saved.meta.get("names"):
        fields["id2label"] = {str(number): name for number, name in enumerate(names)}
        fields["label2id"] = {name: number for number, name in enumerate(names)}
    return fields


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


def _parent(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.parent


def _require_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"output=hf:{folder} must be a new folder, or an empty one, because nothing is "
            "overwritten, but it holds something; try another name"
        )


def _finish(
    run: Path, saved: Saved, place: Path, folder: Path, model_type: str, dtype: str
) -> list[str]:
    """Add the tokenizer and the card, and give the folder its name."""
    tokenizer = Path(getattr(saved.config.data, "tokenizer", "bytes"))
    copied = copy_tokenizer(tokenizer, place) if tokenizer.is_file() else []
    count = parameter_count(saved.config.model)
    durable.write(place / "README.md", card(run, saved, count, dtype))
    os.chmod(place, 0o755)
    if folder.exists():
        folder.rmdir()
    os.replace(place, folder)
    without = "" if copied else "; no tokenizer file, as its tokens are bytes"
    return [
        f"{folder}: {model_type}, {count:,} parameters in {dtype}, step {saved.step}{without}",
        *(f"  {path.name:<36}{path.stat().st_size:>16,}" for path in sorted(folder.iterdir())),
    ]


def card(run: Path, saved: Saved, count: int, dtype: str) -> str:
    """What the folder is of: a model card."""
    meta = saved.meta
    rows = [
        ("architecture", type(saved.config.model).__name__),
        ("parameters", f"{count:,}"),
        ("weights", dtype),
        ("trained steps", f"{saved.step:,}"),
        ("rows seen", f"{meta['examples_seen']:,}" if "examples_seen" in meta else "none"),
        ("data digest", str(meta.get("data_digest", "none"))),
        ("begun from", saved.config.start_from or "fresh weights"),
    ]
    table = "".join(f"| {name} | {value} |\n" for name, value in rows)
    return f"# {run.name}\n\nWritten by `meshloom export`.\n\n| | |\n|---|---|\n{table}"
