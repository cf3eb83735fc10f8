"""What `meshloom ladder fit` makes of runs whose truth is known, sound and spoilt, as a table in
Markdown: `python -m launch.bench.ladder`."""

import textwrap
from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Interval

from launch.ladder.fit import Fit, fit, optimum
from launch.ladder.runs import Run, Table
from launch.ladder.surface import Surface
from launch.words import run_module

TRUTH = Surface(1.69, 406.4, 410.7, 0.34, 0.28)
"""Equation 10 of Hoffmann et al. 2022 (arXiv:2203.15556)."""
BUDGETS, SIZES = np.geomspace(1e18, 1e20, 5), 7
SPAN, ASIDE = 5.0, 1.15
"""Sizes lie from a SPAN-th to SPAN times of what is best, and ASIDE of it, as nobody knows it."""
TARGET = 1e22
NOISE = 0.005


def sound(noise: np.ndarray) -> Table:
    """Runs of the true surface with that noise; (35,)."""
    best = np.array([TRUTH.optimal_params(flops) for flops in BUDGETS])
    params = np.outer(best * ASIDE, np.geomspace(1 / SPAN, SPAN, SIZES)).ravel()
    flops = np.repeat(BUDGETS, SIZES)
    tokens = flops / (6 * params)
    return Table(params, tokens, flops, TRUTH.loss(params, tokens) + noise)


def shifted(runs: Table, rows: np.ndarray, by: float | np.ndarray) -> Table:
    loss = runs.loss.copy()
    loss[rows] += by
    return runs._replace(loss=loss)


def short(runs: Table, rows: np.ndarray, share: float, *, told: bool) -> Table:
    """Those runs stopped at a share of their tokens; `told` if the table has the tokens they saw,
    beside the compute they were planned for."""
    seen = runs.tokens.copy()
    seen[rows] *= share
    apart = TRUTH.loss(runs.params, seen) - TRUTH.loss(runs.params, runs.tokens)
    return runs._replace(loss=runs.loss + apart, tokens=seen if told else runs.tokens)


def upside_down(runs: Table) -> Table:
    loss = runs.loss.copy()
    loss[TOP] = 2 * loss[TOP].mean() - loss[TOP]
    return runs._replace(loss=loss)


def only(runs: Table, *sizes: int) -> Table:
    return runs.take(np.isin(np.arange(len(runs.loss)) % SIZES, sizes))


TOP = np.arange(28, 35)
CASES: dict[str, Callable[[Table, np.ndarray], Table]] = {
    "nothing": lambda runs, one: runs,
    "one loss 0.3 too high": lambda runs, one: shifted(runs, one, 0.3),
    "one run diverged, 3 too high": lambda runs, one: shifted(runs, one, 3.0),
    "one loss is NaN": lambda runs, one: shifted(runs, one, np.nan),
    "half of the largest budget's runs are missing": lambda runs, one: runs.take(np.arange(32)),
    "the largest budget stopped half way, tokens told": (
        lambda runs, one: short(runs, TOP, 0.5, told=True)
    ),
    "the largest budget stopped half way, not told": (
        lambda runs, one: short(runs, TOP, 0.5, told=False)
    ),
    "one run stopped 8 % short, not told": lambda runs, one: short(runs, one, 0.92, told=False),
    "the largest budget's parabola opens down": lambda runs, one: upside_down(runs),
    "one size a budget": lambda runs, one: only(runs, 3),
    "two sizes a budget": lambda runs, one: only(runs, 2, 4),
    "three sizes a budget": lambda runs, one: only(runs, 1, 3, 5),
    "FLOPs of every second run counted with recomputation": (
        lambda runs, one: runs._replace(flops=runs.flops * np.where(np.arange(35) % 2, 1, 4 / 3))
    ),
    "tokens counted in billions": lambda runs, one: runs._replace(tokens=runs.tokens / 1e9),
}


class Told(NamedTuple):
    """What one approach told of the best size at TARGET."""

    ratio: float
    """To the true one; NaN if it told none."""
    right: bool
    """Whether the interval holds the true one."""
    reason: str


def judged(found: Fit) -> list[Told]:
    """By approach; a refusal of all is one of each."""
    if found.refused:
        return [Told(np.nan, False, found.refused[0])] * 3
    true = TRUTH.optimal_params(TARGET)
    tolds = []
    for approach in found.approaches[:3]:
        told = optimum(found, approach, TARGET)
        if isinstance(told, str):
            tolds.append(Told(np.nan, False, told))
            continue
        ratio, at = told.params.value / true, told.params
        # Of runs without noise the interval has no width but rounding.
        held = at.low * (1 - 1e-9) <= true <= at.high * (1 + 1e-9)
        tolds.append(Told(ratio, held, ""))
    return tolds


def fitted(runs: Table) -> list[Told]:
    rows = zip(*runs, strict=True)
    return judged(fit([Run(f"run {n}", *map(float, row)) for n, row in enumerate(rows)]))


def main(sets: Annotated[int, Interval(ge=1, le=100_000)] = 100) -> None:
    """Print the table.

    Args:
        sets: Sets of runs with noise for each case.
    """
    print(f"| spoilt | without noise | {sets} sets: right, refused, wrong | reason |")
    print("|---|---|---|---|")
    for name, spoil in CASES.items():
        print(row(name, spoil, sets), flush=True)


def row(name: str, spoil: Callable[[Table, np.ndarray], Table], sets: int) -> str:
    """One case as a row; counts of the three approaches that tell a size of such runs."""
    chance = np.random.default_rng(0)

    def one() -> np.ndarray:
        return chance.integers(len(BUDGETS) * SIZES, size=1)

    clean = fitted(spoil(sound(np.zeros(35)), one()))
    noisy = [fitted(spoil(sound(chance.normal(0, NOISE, 35)), one())) for _ in range(sets)]
    told = ", ".join(f"{t.ratio - 1:+.1%}" if not t.reason else "refused" for t in clean)
    counts = []
    for outcomes in zip(*noisy, strict=True):
        right, refused = sum(o.right for o in outcomes), sum(bool(o.reason) for o in outcomes)
        counts.append(f"{right} {refused} {sets - right - refused}")
    reasons = [t.reason for outcomes in [clean, *noisy] for t in outcomes[:1] if t.reason]
    reason = textwrap.shorten(reasons[0], 90, placeholder=" ...") if reasons else ""
    return f"| {name} | {told} | {' / '.join(counts)} | {reason} |"


if __name__ == "__main__":
    run_module(main, "launch.bench.ladder")
