"""How forecasts of drawn runs compare with their law: coverage, laws that bend, and sizes that
count embeddings."""

import math
import textwrap
from collections.abc import Iterator

import numpy as np

from launch.ladder.checks import warnings
from launch.ladder.fit import ScalingFit, fit, optimum, predict
from launch.ladder.runs import Table, cost_of
from launch.ladder.surface import Surface, fit_squares
from tests.bench.ladder_runs import SPAN, TRUTH, ladder, named, shifted

LADDERS = {
    "12 cells, noise 0.005": (4, 3, 1, 0.005),
    "12 cells of two seeds, noise 0.005": (4, 3, 2, 0.005),
    "16 cells, noise 0.004": (4, 4, 1, 0.004),
    "20 cells, noise 0.005": (5, 4, 1, 0.005),
}
"""Budgets from 1e18 to 1e20 FLOPs, sizes of each, seeds, and noise."""
BEYOND, SEEDS = 8, 3


def coverage(sets: int | None) -> Iterator[str]:
    """Of the mean of SEEDS runs of the best size at BEYOND times the largest compute."""
    sets = sets or 200
    yield f"| ladder | of {sets}: fitted | loss inside | size inside | half width | missed |"
    yield "|---|---|---|---|---|---|"
    for name, (budgets, sizes, seeds, noise) in LADDERS.items():
        chance = np.random.default_rng(0)
        outcomes = [_covered(budgets, sizes, seeds, noise, chance) for _ in range(sets)]
        done = np.array([outcome for outcome in outcomes if outcome])
        sized = done[:, 1][np.isfinite(done[:, 1])]
        yield (
            f"| {name} | {len(done)} | {done[:, 0].mean():.1%} | {sized.mean():.1%} of "
            f"{len(sized)} | {done[:, 2].mean():.2%} | {done[:, 3].mean():.1%} |"
        )


def _covered(
    budgets: int, sizes: int, seeds: int, noise: float, chance: np.random.Generator
) -> tuple[float, float, float, float] | None:
    """Whether the loss lay inside, whether the size did (NaN if there was none), half the interval
    over the loss, and whether the backtest failed; None if refused."""
    cells = ladder(np.geomspace(1e18, 1e20, budgets), sizes)
    runs = cells.take(np.repeat(np.arange(budgets * sizes), seeds))
    law_fit = fit(named(runs._replace(loss=runs.loss + chance.normal(0, noise, len(runs.loss)))))
    if law_fit.refused:
        return None
    flops = BEYOND * float(runs.flops.max())
    size = TRUTH.optimal_params(flops)
    loss = predict(law_fit, size, flops / (6 * size), SEEDS)
    came = TRUTH.loss(size, flops / (6 * size)) + chance.normal(0, noise, SEEDS).mean()
    best = optimum(law_fit, law_fit.surface, flops)
    sized = math.nan if isinstance(best, str) else best.params.low < size < best.params.high
    half = (loss.high - loss.low) / 2 / loss.value
    return loss.low < came < loss.high, sized, half, bool(law_fit.missed)


BENDS = (-0.004, -0.0024, 0.004)
"""Nats for half the square of the logarithm of compute above 1e18 FLOPs."""


def bent(sets: int | None) -> Iterator[str]:
    """16 cells, noise 0.004: how often the loss lay inside where the backtest failed."""
    sets = sets or 50
    yield f"| bend | of {sets}: failed | inside at 8 x, widened | not | at 100 x, widened | not |"
    yield "|---|---|---|---|---|---|"
    cells = ladder(np.geomspace(1e18, 1e20, 4), 4)
    for bend in BENDS:
        chance, inside = np.random.default_rng(0), []
        for _ in range(sets):
            noise = chance.normal(0, 0.004, len(cells.loss)) + _bend(bend, cells.flops)
            law_fit = fit(named(shifted(cells, np.arange(16), noise)))
            if law_fit.missed:
                both = law_fit, law_fit._replace(missed=[])
                inside.append([_inside(of, beyond, bend) for beyond in (8, 100) for of in both])
        counts = np.sum(inside, axis=0) if inside else [0] * 4
        yield f"| {bend} | {len(inside)} | {' | '.join(map(str, counts))} |"


def _bend(bend: float, flops: np.ndarray) -> np.ndarray:
    return bend / 2 * np.log(flops / 1e18) ** 2


def _inside(law_fit: ScalingFit, beyond: float, bend: float) -> bool:
    flops = beyond * max(run.flops for run in law_fit.runs)
    size = TRUTH.optimal_params(flops)
    loss = predict(law_fit, size, flops / (6 * size))
    true = TRUTH.loss(size, flops / (6 * size)) + float(_bend(bend, np.array(flops)))
    return loss.low < true < loss.high


SMALL = Surface(1.3, 28.0, 165.0, 0.30, 0.36)
"""About what models of 30 K to 400 K parameters follow on Python's standard library."""
WIDTHS = np.array([2**n * part for n in range(4, 11) for part in (4, 5, 6, 7)])
VOCABULARY = 32_000
BARE = 12 * np.maximum(1, WIDTHS // 64) * WIDTHS**2.0
"""Parameters without embeddings of models of these widths and depth width / 64."""


def embeddings(_: int | None) -> Iterator[str]:
    """Runs whose loss follows SMALL in parameters without embeddings, while those of VOCABULARY
    tokens, tied to the output, are counted or not; without noise. What a fit would say if it were
    not refused, and what is said."""
    yield "| N counts them, FLOPs | budgets | size, loss at 8 x | at 100 x | what is said |"
    yield "|---|---|---|---|---|"
    for lowest in (1e15, 1e17, 1e19):
        budgets = np.geomspace(lowest, 1000 * lowest, 5)
        rows = [
            (bare, width, flops)
            for flops in budgets
            for bare, width in zip(BARE, WIDTHS, strict=True)
            if 1 / SPAN < bare / SMALL.optimal_params(flops) < SPAN
        ]
        bare, width, flops = np.array(rows).T
        tokens = flops / (6 * bare)
        full, losses = bare + VOCABULARY * width, SMALL.loss(bare, tokens)
        span = f"{lowest:.0e} to {1000 * lowest:.0e}".replace("+", "")
        for name, runs in {
            "no, 6 N D": Table(bare, tokens, flops, losses),
            "yes, 6 N D": Table(full, tokens, 6 * full * tokens, losses),
            "yes, without them": Table(full, tokens, flops, losses),
        }.items():
            counted = VOCABULARY * (name[0] == "y")
            yield f"| {name} | {span} | {_biased(runs, budgets[-1], counted)} |"


def _biased(runs: Table, largest: float, counted: int) -> str:
    surface, cost = fit_squares(runs), cost_of(runs)
    biases = []
    for beyond in (8, 100):
        best = SMALL.optimal_params(beyond * largest)
        size = best + counted * float(np.interp(best, BARE, WIDTHS))
        tokens = beyond * largest / (6 * best)
        flops = cost.factor * size ** (1 + cost.exponent) * tokens
        off = surface.loss(size, tokens) / SMALL.loss(best, tokens) - 1
        biases.append(f"{surface.optimal_params(flops, cost) / size - 1:+.0%}, {off:+.2%}")
    law_fit = fit(named(runs))
    said = [
        *law_fit.refused,
        *(miss.warning for miss in law_fit.missed),
        *warnings(law_fit.runs),
        "nothing",
    ][0]
    return " | ".join([*biases, textwrap.shorten(said, 60, placeholder=" ...")])
