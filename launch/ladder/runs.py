"""The runs a scaling law is fitted to: one size, one number of tokens, one loss each."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

Amount = TypeVar("Amount", float, np.ndarray)


class ScalingRun(NamedTuple):
    """A finished training run."""

    name: str
    params: float
    """Trained parameters, by one convention in all runs (with or without embeddings)."""
    tokens: float
    """Tokens trained on, each time one is seen counted."""
    flops: float
    """Training FLOPs, by one convention in all runs."""
    loss: float
    """Final held-out loss in nats a token."""
    unique: float = math.inf
    """Different tokens that its text holds; infinite if that is not known."""

    @property
    def epochs(self) -> float:
        """How often it saw its text; 0 if that is not known."""
        return self.tokens / self.unique


SHOWN = 6
"""Runs that are named one by one; of more, the rest is counted."""


def named(runs: Sequence[ScalingRun], rows: Iterable[int]) -> str:
    """Those runs by name, the first few and how many more."""
    names = [runs[row].name for row in rows]
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


def counted(runs: int) -> str:
    """1 run, 4 runs."""
    return f"{runs} run" + ("" if runs == 1 else "s")


class Table(NamedTuple):
    """Runs as columns, float64 of shape (runs,)."""

    params: np.ndarray
    tokens: np.ndarray
    flops: np.ndarray
    loss: np.ndarray

    def take(self, rows: np.ndarray) -> "Table":
        """Those rows, by index or mask."""
        return Table(*(column[rows] for column in self))

    def without(self, rows: np.ndarray) -> "Table":
        """All but those rows, by index."""
        return Table(*(np.delete(column, rows) for column in self))

    @property
    def flops_ratio(self) -> np.ndarray:
        """FLOPs over 6 N D; (runs,)."""
        return self.flops / (6 * self.params * self.tokens)


def table(runs: Sequence[ScalingRun]) -> Table:
    """The runs' numbers as columns."""
    rows = np.array([run[1:5] for run in runs], dtype=np.float64).reshape(-1, 4)
    return Table(*rows.T)


class Cost(NamedTuple):
    """Training FLOPs of a size and its tokens: factor * params ** (1 + exponent) * tokens."""

    factor: float
    exponent: float

    def tokens(self, flops: float, params: Amount) -> Amount:
        """Tokens that this compute buys for a model of this size."""
        of_token: Any = self.factor * params ** (1 + self.exponent)
        return flops / of_token


SIX = Cost(6.0, 0.0)
"""Six FLOPs for each parameter and token (Kaplan et al. 2020)."""


def cost_of(runs: Table) -> Cost:
    """The law that the runs' own sizes, tokens and FLOPs follow, by the median of their slopes
    (Theil and Sen), which a few odd runs do not move."""
    logs = np.log(runs.params)
    ratio = np.log(runs.flops / runs.tokens) - logs
    apart = np.abs(logs[:, None] - logs) > math.log(1.5)
    slopes = (ratio[:, None] - ratio)[apart] / (logs[:, None] - logs)[apart]
    exponent = float(np.median(slopes)) if slopes.size else 0.0
    return Cost(math.exp(float(np.median(ratio - exponent * logs))), exponent)


def cells(runs: Table) -> list[np.ndarray]:
    """Indices of the runs of each size and number of tokens: those of a cell differ by seed."""
    groups: dict[tuple[float, float], list[int]] = {}
    for row, cell in enumerate(zip(runs.params.tolist(), runs.tokens.tolist(), strict=True)):
        groups.setdefault(cell, []).append(row)
    return [np.array(rows) for rows in groups.values()]


class Budget(NamedTuple):
    """Runs of the same compute."""

    flops: float
    """Geometric mean."""
    rows: np.ndarray
    """Indices of the runs."""


BUDGET_WIDTH = 0.1
"""Compute of one budget's runs lies within this share of the smallest: sizes and steps are whole
numbers, so that no two runs cost exactly the same."""


def budgets(flops: np.ndarray) -> list[Budget]:
    """Runs grouped by compute, the smallest first."""
    groups: list[list[int]] = []
    for row in np.argsort(flops).tolist():
        if groups and flops[row] <= flops[groups[-1][0]] * (1 + BUDGET_WIDTH):
            groups[-1].append(row)
        else:
            groups.append([row])
    return [Budget(math.exp(np.log(flops[rows]).mean()), np.array(rows)) for rows in groups]
