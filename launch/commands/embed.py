"""The command `meshloom embed`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from data.fields import Whole
from launch.config import MeshConfig
from launch.run.saved import MovedTokenizer
from launch.schema.command_line import UsageError, parse


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """Write the sentence embeddings of texts, by a run's checkpoint."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    output: Path
    """File to write: .npy, an array [n, D] of float32, or .jsonl, an object a line."""
    text: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A text; may be given again."""
    source: str | None = None
    """Records with the field that the run was trained on, as `csv:new.csv` or `jsonl:new.jsonl`."""
    step: Whole | None = None
    """Checkpoint to read; the latest by default."""
    data: MovedTokenizer = field(default_factory=MovedTokenizer)
    """Where its tokenizer is now."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """The devices, which need not be those of the training."""


def main(arguments: list[str]) -> None:
    """Write the embeddings, and say of how many texts."""
    options = parse(EmbedOptions, arguments, prog="meshloom embed")
    if not options.text and options.source is None:
        raise UsageError("meshloom embed needs --text or --source; try --text 'a text'")
    if options.output.suffix not in (".npy", ".jsonl"):
        raise UsageError(
            f"output={options.output} must end in .npy or .jsonl, because the ending says what is "
            "written; try another name"
        )
    import jax
    import numpy as np

    from data import durable
    from data.errors import UserError
    from launch.run.predict import predict

    rows = list(
        predict(
            options.run,
            options.text,
            source=options.source,
            step=options.step,
            data=options.data,
            mesh=options.mesh,
        )
    )
    if any("embedding" not in answer for _, answer, _ in rows):
        raise UserError(
            f"run={options.run} must be of a model with model.head.kind=embedding, because others "
            "make no embeddings of texts; try `meshloom predict`"
        )
    if jax.process_index() != 0:
        return
    vectors = np.array([answer["embedding"] for _, answer, _ in rows], np.float32)
    with durable.replacing(options.output) as temporary:
        if options.output.suffix == ".npy":
            with temporary.open("wb") as file:
                np.save(file, vectors)
        else:
            lines = (
                json.dumps({**values, **answer}, ensure_ascii=False) for values, answer, _ in rows
            )
            temporary.write_text("".join(f"{line}\n" for line in lines))
    print(f"wrote {len(rows):,} embeddings of {vectors.shape[1]} numbers to {options.output}")
