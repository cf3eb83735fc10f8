"""A model card: what exported weights are of, and how good they are."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.run.directory import RunDirectory
from launch.run.saved import Saved, is_pretrained
from model.flops import parameter_count
from train.report.writers import read_jsonl

TASKS = {
    "language": "fill-mask",
    "labels": "text-classification",
    "tags": "token-classification",
    "span": "question-answering",
    "embedding": "feature-extraction",
    "encoder_decoder": "text2text-generation",
    "labels of images": "image-classification",
    "labels of patches": "image-segmentation",
    "embeddings": "image-feature-extraction",
}
"""What a hub calls a task, by the kind of head, what is asked of images, or a family that answers
one way alone; a model that writes on from a prompt is for `text-generation`."""


def card(run: Path, saved: Saved, dtype: str) -> str:
    """The text of a README.md."""
    meta, config = saved.meta, saved.config
    model: Any = config.model
    asked = (model.kind, *model.questions, model.head.kind)
    task = next((TASKS[name] for name in asked if name in TASKS), "")
    task = "text-generation" if model.generates else task
    rows = [
        ("architecture", type(model).__name__),
        ("parameters", f"{exported_parameters(model):,}"),
        ("weights", dtype),
        ("preset", config.preset),
        ("trained steps", f"{saved.step:,}"),
        ("rows seen", f"{meta['examples_seen']:,}" if "examples_seen" in meta else "none"),
        ("data digest", str(meta.get("data_digest", "none"))),
        ("begun from", _name(config.start_from) if config.start_from else "fresh weights"),
    ]
    text = (
        f"---\nlibrary_name: transformers\npipeline_tag: {task}\n---\n\n"
        f"# {run.name or run.absolute().name}\n\nWritten by `meshloom export`.\n\n"
        f"{_table(('', ''), rows)}"
    )
    measured = [] if is_pretrained(run) else _results(RunDirectory(run), saved.step)
    if not measured:
        return text
    return f"{text}\n## Results\n\n{_table(('measure', 'value', 'at step'), measured)}"


def exported_parameters(model: Any) -> int:
    """Parameters of a model without rows that only pad its vocabulary."""
    padded = model.vocabulary is not None
    return parameter_count(dataclasses.replace(model, vocab_multiple=1) if padded else model)


def _results(run: RunDirectory, step: int) -> list[tuple[str, ...]]:
    """The last measures that the run recorded up to a step."""
    records = read_jsonl(run.metrics) if run.metrics.exists() else []
    rows = []
    for loss, what in (("loss", "training"), ("eval_loss", "held-out")):
        known = [each for each in records if loss in each and each["step"] <= step]
        for field, value in known[-1].items() if known else ():
            more = loss == "eval_loss" and field.startswith("eval_") and field != "eval_targets"
            if field == loss or more:
                name = field.removeprefix("eval_").replace("_", " ")
                shown = f"{value:.4f}" if isinstance(value, float) else str(value)
                rows.append((f"{what} {name}", shown, f"{known[-1]['step']:,}"))
    return rows


def _name(spec: str) -> str:
    """A spec without the folders of this machine."""
    kind, _, where = spec.partition(":")
    return f"{kind}:{Path(where).name}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
