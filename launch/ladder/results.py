"""How cells ended: the result that a finished one leaves, and results as runs of a law."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.errors import UserError
from launch.ladder.cells import Cell
from launch.ladder.directory import StudyDirectory
from launch.ladder.runs import ScalingRun
from launch.run.saved import open_run
from train.report.writers import read_jsonl


def result_of(cell: Cell, path: Path) -> dict[str, Any]:
    """What the finished run of a cell came to: nothing in it depends on when or where it was
    trained, or how often it was stopped."""
    run = open_run(path)
    records = read_jsonl(run.directory.metrics)
    every = cell.config.train.log_every  # a resumed run also records its first step
    losses = [[r["step"], r["loss"]] for r in records if "loss" in r and r["step"] % every == 0]
    data: Any = cell.config.data
    return {
        "name": cell.name,
        "digest": cell.digest,
        "width": cell.width,
        "seed": cell.seed,
        "held_out": cell.held_out,
        "parameters": cell.parameters,
        "parameters_without_embeddings": cell.parameters_without_embeddings,
        "flops_per_token": cell.flops_per_token,
        "steps": cell.config.train.steps,
        "tokens": cell.tokens,
        # Each counted once; sources with weights are repeated each by itself.
        "unique_tokens": None if data.weights else data.open_rows("train").num_tokens,
        "flops": cell.flops,
        "loss": records[-1]["eval_loss"],
        "dtype": run.config.model.dtype,
        "data_digest": run.checkpoints.meta(cell.config.train.steps)["data_digest"],
        "course": hashlib.sha256(json.dumps(losses).encode()).hexdigest(),
    }


def runs_of(study: StudyDirectory) -> list[ScalingRun]:
    """The cells of the grid as runs.

    ValueError if a cell is not done, or if cells were trained on different data, or in different
    types.
    """
    cells = [cell for cell in study.cells if not cell.held_out]
    results = {cell.name: result for cell in cells if (result := study.result(cell))}
    if missing := [cell.name for cell in cells if cell.name not in results]:
        raise UserError(
            f"dir={study.path} must hold a result of every cell of the grid, because those that "
            f"lack may be those that went wrong, but {len(missing)} of {len(cells)} are not "
            f"done: {', '.join(missing[:4])}; try `meshloom ladder status`, `meshloom ladder "
            "run`, or a grid without them"
        )
    digests: dict[int, set[str]] = {}
    for cell in cells:
        digests.setdefault(cell.seed, set()).add(results[cell.name]["data_digest"])
    if mixed := [seed for seed, of_seed in digests.items() if len(of_seed) > 1]:
        raise UserError(
            f"dir={study.path} must hold cells of the same data, because their losses are compared,"
            f" but those of seed {mixed[0]} have {len(digests[mixed[0]])} data digests; try one "
            "Python and one set of files for all workers, and another --dir"
        )
    types = {result.get("dtype", "") for result in results.values()}
    if len(types) > 1:
        raise UserError(
            f"dir={study.path} must hold cells that computed in one type, because their losses are "
            f"compared, but there are {' and '.join(sorted(types))}; try workers on devices of one "
            "kind, base.model.dtype, and another --dir"
        )
    return [run_of(cell, results[cell.name]) for cell in cells]


def run_of(cell: Cell, result: dict[str, Any]) -> ScalingRun:
    """A cell with its result. Its parameters are its training FLOPs a token over six, so that
    FLOPs = 6 N D holds exactly, whatever its embeddings and its attention cost."""
    unique = result.get("unique_tokens") or math.inf
    return ScalingRun(
        cell.name, cell.flops_per_token / 6, cell.tokens, cell.flops, result["loss"], unique
    )


def require_same_text(study: StudyDirectory) -> None:
    """Raise ValueError if the cells that are left would be trained on other text than one that is
    done: a study may be moved, and so may its text."""
    done = [(cell, result) for cell in study.cells if (result := study.result(cell))]
    if not done or all(study.ended(cell) for cell in study.cells):
        return
    cell, result = done[0]
    digest, now = result["data_digest"], cell.config.data.open_rows("train").digest
    if now != digest:
        raise UserError(
            f"data digest={now[:16]} must be {digest[:16]}, because {cell.name} was trained on "
            "those rows, and cells are compared; try the text and tokenizer it was trained with, "
            "by base.data of the study, or another --dir"
        )


def digest_of(study: StudyDirectory, names: Sequence[str]) -> str:
    """Hash of the results of the cells of these names, which the grid may hold no more."""
    results = [study.result_named(name) for name in names]
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()
