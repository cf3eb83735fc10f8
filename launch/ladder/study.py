"""A study: a family of models that one width spans, the cells of its grid, and how they learn.

Imports no jax.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Interval

from data.errors import UserError
from data.fields import Seed, Size
from launch.config import RunConfig, leaves, to_dict
from launch.presets.preset import preset
from launch.schema.structured import structured
from model.families.family import Proportions

Positive = Annotated[float, Interval(ge=1e-30, le=1e30)]
Exponent = Annotated[float, Interval(ge=-2, le=2)]

ASIDE = (
    "preset mesh distributed deterministic tensorboard wandb sample profile "
    "data.sources data.tokenizer data.cache_dir "
    "model.remat train.log_every train.eval_every train.checkpoint train.watchdog"
).split()
"""Fields by which runs with the same result may differ; what text and tokenizer hold is compared by
digest, wherever they lie."""

REPLACED = (
    "data.seed train.steps train.batch_size train.seed train.optimizer.learning_rate"
).split()
"""Fields of RunConfig that each cell has of its own, by its row and the rules, next to those of
the model that follow from its width."""


@dataclass(frozen=True, kw_only=True)
class Power:
    """factor * N ** params * D ** tokens, for parameters N and tokens D of a cell; both exponents 0
    are a constant."""

    factor: Positive
    """What it is at exponents of 0."""
    params: Exponent = 0.0
    """Exponent of the parameters without embeddings."""
    tokens: Exponent = 0.0
    """Exponent of the tokens the cell is trained on."""

    def at(self, params: float, tokens: float) -> float:
        """Its value for a cell."""
        return self.factor * params**self.params * tokens**self.tokens


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """Widths that are trained for the same FLOPs, or the same tokens a parameter."""

    widths: tuple[Size, ...]
    flops: Positive | None = None
    """Training FLOPs of each cell, attention counted (isoFLOP)."""
    tokens_per_parameter: Annotated[float, Interval(ge=1e-6, le=1e9)] | None = None
    """Tokens of each cell, over its parameters without embeddings."""
    seeds: tuple[Seed, ...] = (0,)
    """Each cell is trained once for each; a seed is that of the parameters and of the data."""

    def __post_init__(self) -> None:
        if (self.flops is None) == (self.tokens_per_parameter is None):
            raise UserError(
                f"a row of widths {list(self.widths)} must give flops or tokens_per_parameter, and "
                "not both, because the length of its runs follows from it; try flops: 1.0e+15"
            )
        for name in ("widths", "seeds"):
            value = getattr(self, name)
            if not value or len(set(value)) < len(value):
                raise UserError(
                    f"{name}={list(value)} must name at least one, and each once, because each is "
                    f"a cell; try {name}: {sorted(set(value)) or [64]}"
                )


@dataclass(frozen=True, kw_only=True)
class Study:
    """Cells to train, and those to predict."""

    base: RunConfig
    """What all cells have in common; sizes, steps, batch, rate and seeds are replaced."""
    family: Proportions
    """Sizes from a width."""
    learning_rate: Power
    """Peak learning rate."""
    batch_tokens: Power
    """Tokens of a batch; rounded to whole rows, at least one."""
    grid: tuple[GridRow, ...]
    """The cells the law is fitted to."""
    held_out: tuple[GridRow, ...] = field(default=())
    """Cells that are predicted before they are trained."""

    def __post_init__(self) -> None:
        if not self.grid:
            raise UserError(
                "grid=[] must hold at least one row, because a law is fitted to its cells; try "
                "grid: [{flops: 1.0e+15, widths: [64, 96, 128]}]"
            )
        if not self.base.train.eval_batches:
            raise UserError(
                "base.train.eval_batches=0 must be at least 1, because a cell is worth its loss on "
                "held-out text; try 64"
            )


def from_dict(values: Mapping[str, Any], where: str) -> Study:
    """The study of plain values, whose base may hold a preset's name and only what differs from it;
    ValueError, naming `where`, on unfit ones."""
    base = values.get("base")
    if isinstance(base, Mapping):
        if not isinstance(name := base.get("preset"), str):
            raise UserError(
                f"base.preset={name} in {where} must be the name of a preset, because the others "
                "are what differs from it; try base: {preset: tiny}"
            )
        own = to_dict(preset(name))
        merged = _merged(own, base)
        before, now = dict(leaves(own)), dict(leaves(merged))
        sized = (f"model.{name}" for name in preset(name).model.width_fields)
        for replaced in (*sized, *REPLACED):
            if replaced in now and now[replaced] != before[replaced]:
                raise UserError(
                    f"base.{replaced}={now[replaced]} in {where} must be left out, because each "
                    "cell has its own, by family, learning_rate, batch_tokens and its row of the "
                    "grid; try those"
                )
        values = {**values, "base": merged}
    return structured(Study, values, where, "a study")


def differences(old: Study, new: Study) -> list[str]:
    """Lines `field: was X, now Y` for all that differs but the grid, which may grow, and what has
    no part in a result."""
    before, now = (dict(leaves(to_dict(study))) for study in (old, new))
    return [
        f"{name}: was {before.get(name, 'absent')}, now {now.get(name, 'absent')}"
        for name in sorted(before.keys() | now.keys())
        if name not in ("grid", "held_out")
        and not is_aside(name.removeprefix("base."))
        and before.get(name) != now.get(name)
    ]


def is_aside(name: str) -> bool:
    """Whether a field of RunConfig has no part in what a run of one cell results in."""
    return any(name == aside or name.startswith(f"{aside}.") for aside in ASIDE)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the changes, field by field."""
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merged(old, value)
        merged[name] = value
    return merged
