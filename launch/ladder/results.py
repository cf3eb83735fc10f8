"""The results of a study as runs that a law is fitted to."""

import hashlib
import json
import math
from collections.abc import Sequence

from data.errors import UserError
from launch.ladder.cells import Cell
from launch.ladder.directory import StudyDirectory
from launch.ladder.runs import Run


def runs_of(study: StudyDirectory) -> list[Run]:
    """The cells of the grid as runs. A run's parameters are its training FLOPs a token over six, so
    that FLOPs = 6 N D holds exactly, whatever its embeddings and its attention cost.

    ValueError if a cell is not done, or if cells were trained on different data, or in different
    types.
    """
    cells = [cell for cell in study.cells if not cell.held_out]
    open_cells = [cell for cell in cells if study.result(cell) is None]
    if open_cells:
        names = ", ".join(cell.name for cell in open_cells[:4])
        raise UserError(
            f"dir={study.path} must hold a result of every cell of the grid, because those that "
            f"lack may be those that went wrong, but {len(open_cells)} of {len(cells)} are not "
            f"done: {names}; try `meshloom ladder status`, `meshloom ladder run`, or a grid "
            "without them"
        )
    digests: dict[int, set[str]] = {}
    for cell in cells:
        digests.setdefault(cell.seed, set()).add((study.result(cell) or {})["data_digest"])
    if mixed := [seed for seed, found in digests.items() if len(found) > 1]:
        raise UserError(
            f"dir={study.path} must hold cells of the same data, because their losses are compared,"
            f" but those of seed {mixed[0]} have {len(digests[mixed[0]])} data digests; try one "
            "Python and one set of files for all workers, and another --dir"
        )
    types = {(study.result(cell) or {}).get("dtype", "") for cell in cells}
    if len(types) > 1:
        raise UserError(
            f"dir={study.path} must hold cells that computed in one type, because their losses are "
            f"compared, but there are {' and '.join(sorted(types))}; try workers on devices of one "
            "kind, base.model.dtype, and another --dir"
        )
    return [
        run_of(cell, loss_of(study, cell))._replace(unique=_unique(study, cell)) for cell in cells
    ]


def require_same_text(study: StudyDirectory) -> None:
    """Raise ValueError if the cells that are left would be trained on other text than one that is
    done: a study may be moved, and so may its text."""
    done = next((cell for cell in study.cells if study.result(cell)), None)
    if done is None or all(study.ended(cell) for cell in study.cells):
        return
    digest = (study.result(done) or {})["data_digest"]
    now = done.config.data.open_rows("train").digest
    if now != digest:
        raise UserError(
            f"data digest={now[:16]} must be {digest[:16]}, because {done.name} was trained on "
            "those rows, and cells are compared; try the text and tokenizer it was trained with, "
            "by base.data of the study, or another --dir"
        )


def run_of(cell: Cell, loss: float) -> Run:
    """A cell with its loss."""
    return Run(cell.name, cell.flops_per_token / 6, cell.tokens, cell.flops, loss)


def _unique(study: StudyDirectory, cell: Cell) -> float:
    """Tokens of the text that a finished cell was trained on; infinite if that is not known, as of
    sources with weights, each of which is repeated by itself."""
    return (study.result(cell) or {}).get("unique_tokens") or math.inf


def loss_of(study: StudyDirectory, cell: Cell) -> float:
    """The final held-out loss of a finished cell, in nats a token."""
    result = study.result(cell)
    assert result is not None
    return result["loss"]


def grid_of(study: StudyDirectory) -> list[str]:
    """The names of the cells of the grid."""
    return [cell.name for cell in study.cells if not cell.held_out]


def digest_of(study: StudyDirectory, names: Sequence[str]) -> str:
    """Hash of the results of the cells of these names."""
    results = [study.result_named(name) for name in names]
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()
