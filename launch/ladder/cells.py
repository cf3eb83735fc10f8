"""The cells of a study: one run each, with its sizes, its cost, and a name made of its content."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from data.errors import UserError
from launch.config import RunConfig
from launch.ladder.study import GridRow, Study, is_aside
from model.flops import embedding_parameters, flops_per_token, parameter_count

MIN_STEPS = 20


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    config: RunConfig
    held_out: bool
    """Whether it is predicted before it is trained."""

    @cached_property
    def digest(self) -> str:
        """Hash of the settings that decide its result. Those at their defaults are left out, so
        that a setting which is new in the program does not rename the cells of old studies."""
        own = json.dumps(dict(_deciding(self.config)), sort_keys=True)
        return hashlib.sha256(own.encode()).hexdigest()

    @property
    def name(self) -> str:
        """Its directory's."""
        width, steps, seed = self.width, self.config.train.steps, self.seed
        return f"w{width}-n{steps}-s{seed}-{self.digest[:8]}"

    @property
    def width(self) -> int:
        return self.config.model.width

    @property
    def seed(self) -> int:
        return self.config.train.seed

    @cached_property
    def parameters(self) -> int:
        return parameter_count(self.config.model)

    @property
    def parameters_without_embeddings(self) -> int:
        return self.parameters - embedding_parameters(self.config.model)

    @property
    def flops_per_token(self) -> float:
        data = self.config.data
        return flops_per_token(self.config.model, data.sequence_length, data.scored_share)

    @property
    def tokens(self) -> int:
        """All that it is trained on."""
        train = self.config.train
        return train.steps * train.batch_size * self.config.data.sequence_length

    @property
    def flops(self) -> float:
        return self.flops_per_token * self.tokens

    @cached_property
    def trunk(self) -> str | None:
        """The same for cells that differ in nothing but their steps, and go the same way until the
        shorter one's rate begins to fall; None if the schedule bends with the steps."""
        optimizer = self.config.train.optimizer
        if optimizer.schedule not in ("wsd", "constant"):
            return None
        train = dataclasses.replace(self.config.train, steps=1)
        return Cell(dataclasses.replace(self.config, train=train), self.held_out).digest

    @property
    def branching(self) -> int:
        """The last step before its rate begins to fall."""
        train = self.config.train
        if train.optimizer.schedule == "constant":
            return train.steps
        return int(train.steps - max(1.0, train.steps * train.optimizer.decay_fraction))


def _deciding(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if is_aside(name):
            continue
        if dataclasses.is_dataclass(value):
            yield from _deciding(value, f"{name}.")
        elif value != field.default:
            yield name, value


def cells_of(study: Study) -> list[Cell]:
    """All cells, the cheapest first, those held out last; ValueError if one cannot be built, or is
    asked for twice."""
    cells = [
        Cell(_config(study, row, width, seed), held_out)
        for rows, held_out in ((study.grid, False), (study.held_out, True))
        for row in rows
        for width in row.widths
        for seed in row.seeds
    ]
    counts = Counter(cell.digest for cell in cells)
    for cell in cells:
        if counts[cell.digest] > 1:
            raise UserError(
                f"grid and held_out must not ask for the same cell twice, because each is trained "
                f"once, but both hold {cell.name}; try leaving width {cell.width} out of one row"
            )
    cells.sort(key=lambda cell: (cell.held_out, cell.flops, cell.seed))
    return [_with_branch_points(cell, cells) for cell in cells]


def predecessor(cell: Cell, cells: list[Cell]) -> Cell | None:
    """The longest of the cells that are shorter and share the trunk of this one; for a cell of the
    grid none that is held out, as that is trained later."""
    trunk = cell.trunk
    if trunk is None:
        return None
    shorter = [
        other
        for other in cells
        if other.trunk == trunk
        and 0 < other.branching < cell.branching
        and (cell.held_out or not other.held_out)
    ]
    return max(shorter, key=lambda other: other.branching, default=None)


def _with_branch_points(cell: Cell, cells: list[Cell]) -> Cell:
    """The cell with a checkpoint where the next longer one goes another way."""
    if not any(predecessor(other, cells) is cell for other in cells):
        return cell
    saved = dataclasses.replace(cell.config.train.checkpoint, at_steps=(cell.branching,))
    train = dataclasses.replace(cell.config.train, checkpoint=saved)
    return dataclasses.replace(cell, config=dataclasses.replace(cell.config, train=train))


def _config(study: Study, row: GridRow, width: int, seed: int) -> RunConfig:
    model = study.base.model.of_width(width, study.family)
    data = dataclasses.replace(study.base.data, seed=seed)
    size = parameter_count(model) - embedding_parameters(model)
    field = "tokens_per_parameter" if row.flops is None else "flops"
    asked = getattr(row, field)
    cost = flops_per_token(model, data.sequence_length, data.scored_share)
    tokens = asked * size if row.flops is None else asked / cost
    rows = max(1, round(study.batch_tokens.at(size, tokens) / data.sequence_length))
    bought = tokens / (rows * data.sequence_length)
    fewest = max(MIN_STEPS, 2 * study.base.train.optimizer.warmup_steps)
    if (steps := round(bought)) < fewest:
        enough = asked * 1.1 * fewest / max(bought, 1e-9)
        raise UserError(
            f"{field}={asked:g} must buy at least {fewest} steps at width {width}, because a run "
            f"needs {MIN_STEPS} and twice its warm-up, but it buys {steps} of {rows} rows; try "
            f"{field}={enough:.2g}, a smaller batch or warm-up, or leaving that width out"
        )
    optimizer = dataclasses.replace(
        study.base.train.optimizer, learning_rate=study.learning_rate.at(size, tokens)
    )
    train = dataclasses.replace(
        study.base.train,
        steps=steps,
        batch_size=rows,
        seed=seed,
        optimizer=optimizer,
        eval_batches=_eval_batches(study, rows),
    )
    return dataclasses.replace(study.base, model=model, data=data, train=train)


def _eval_batches(study: Study, rows: int) -> int:
    """Batches of an evaluation. Where cells differ in their batch, as many as hold the rows that
    the base's own do: losses on other rows could not be compared."""
    base, batch = study.base.train, study.batch_tokens
    if batch.params == batch.tokens == 0:
        return base.eval_batches
    return max(1, round(base.eval_batches * base.batch_size / rows))
