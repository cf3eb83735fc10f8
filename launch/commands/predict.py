"""The command `meshloom predict`."""

import csv
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any

import tyro

from data.fields import Count, Whole
from launch.commands.beam_options import BeamOptions
from launch.config import MeshConfig
from launch.run.saved import MovedTokenizer
from launch.schema.command_line import UsageError, parse


@dataclass(frozen=True, kw_only=True)
class PredictOptions(BeamOptions):
    """Let a run's checkpoint label or tag other texts, images or series, or write of texts."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    text: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A text; may be given again. Of a model of pairs, or of questions and contexts, each two are
    one."""
    source: str | None = None
    """Records with the fields that the run was trained on, as `csv:new.csv`, `images:photos` or
    `ts:new.ts`."""
    output: Path | None = None
    """File to write, .csv or .jsonl; lines on the screen by default."""
    tokens: Count | None = None
    """Tokens to write of a text at most; as many as a row of targets has by default."""
    step: Whole | None = None
    """Checkpoint to read; the latest by default."""
    data: MovedTokenizer = field(default_factory=MovedTokenizer)
    """Where its tokenizer is now."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """The devices, which need not be those of the training."""


def main(arguments: list[str]) -> None:
    """Print, or write, what the checkpoint says of each text."""
    options = parse(PredictOptions, arguments, prog="meshloom predict")
    output = options.output
    if not options.text and options.source is None:
        raise UsageError("meshloom predict needs --text or --source; try --text 'a text'")
    if output is not None and output.suffix not in WRITERS:
        raise UsageError(
            f"output={output} must end in {' or '.join(WRITERS)}, because the ending says what is "
            "written; try another name"
        )
    import jax

    from launch.run.predict import predict

    answers = predict(
        options.run,
        options.text,
        source=options.source,
        step=options.step,
        data=options.data,
        mesh=options.mesh,
        beams=options.search(),
        tokens=options.tokens,
    )
    if output is None:
        for _, _, line in answers:
            if jax.process_index() == 0:
                print(line)
        return
    from data import durable

    rows = [{**values, **answer} for values, answer, _ in answers]
    if jax.process_index() == 0:
        with durable.replacing(output) as temporary, temporary.open("w", newline="") as file:
            WRITERS[output.suffix](rows, file)
        print(f"wrote {len(rows):,} predictions to {output}", file=sys.stderr)


def write_jsonl(rows: list[dict[str, Any]], file: IO[str]) -> None:
    """One object a line."""
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_csv(rows: list[dict[str, Any]], file: IO[str]) -> None:
    """One line a row; probabilities are columns of their own, lists are joined by blanks."""
    plain = [_columns(row) for row in rows]
    writer = csv.DictWriter(file, plain[0] if plain else [])
    writer.writeheader()
    writer.writerows(plain)


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            columns |= {f"probability of {label}": share for label, share in value.items()}
        else:
            columns[name] = " ".join(map(str, value)) if isinstance(value, list) else value
    return columns


WRITERS = {".csv": write_csv, ".jsonl": write_jsonl}
