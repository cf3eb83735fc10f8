"""Scaling laws from runs: the three approaches of Hoffmann et al. 2022 side by side, each with its
intervals or with the reason why it tells nothing."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t

from launch.ladder.checks import LEAST_CELLS, foretold_error, reasons
from launch.ladder.envelope import fit_envelope, refit_envelope
from launch.ladder.interval import DRAWS, LEVEL, Estimate, about, redrawn, stretched
from launch.ladder.isoflop import PowerLaw, Unfit, fit_isoflop, refit_isoflop
from launch.ladder.runs import Cost, Run, Table, budgets, cells, cost_of, named, table
from launch.ladder.surface import (
    NOISE,
    Surface,
    fit_huber,
    fit_squares,
    refit_huber,
    refit_squares,
    undetermined,
)

APPROACHES = {
    "surface, least squares": (fit_squares, refit_squares),
    "surface, Huber on logs": (fit_huber, refit_huber),
    "a parabola each budget": (fit_isoflop, refit_isoflop),
    "envelope of the curves": (fit_envelope, refit_envelope),
}
"""How each is fitted to runs, and again to other losses of the same runs."""

UNDETERMINED = 10.0
"""An interval whose ends are this factor apart tells nothing."""


class Optimum(NamedTuple):
    """What is best at a compute."""

    flops: float
    params: Estimate
    tokens: Estimate
    loss: Estimate | None
    """Of one run; None where the approach tells none."""
    extrapolates: bool
    """Whether no run had so much compute."""


class Approach(NamedTuple):
    """One way to fit, and what it gave."""

    name: str
    law: Surface | PowerLaw | None
    reason: str
    """Why it gave none; empty if it did."""
    draws: Sequence[Surface | PowerLaw]
    free: int
    """Cells more than a surface has constants; a cell is all runs of one size and tokens."""
    undetermined: dict[str, str]
    """Constants of the law that the runs do not determine, each with the reason; their values are
    not known, the others lean on them, and no best size follows."""

    def interval(self, of: Callable[[Any], float]) -> Estimate:
        """What a law tells `of` something, with its interval; draws that tell nothing left out."""
        draws = np.array([of(draw) for draw in self.draws])
        return about(of(self.law), draws[np.isfinite(draws)], self.free)


class Fit(NamedTuple):
    """Everything fitted to a set of runs."""

    runs: Sequence[Run]
    cost: Cost
    refused: list[str]
    """What speaks against any fit; if there is something, no approach has a law."""
    approaches: list[Approach]
    noise: float
    """Standard deviation of a run's loss about the surface."""
    left_out: "LeftOut | None"
    missed: Sequence["Missed"]
    """Losses that were foretold, and came to lie outside of their intervals."""

    @property
    def surface(self) -> Approach:
        """The one that forecasts are made with."""
        return self.approaches[0]


class LeftOut(NamedTuple):
    """How a fit without the runs of the most compute foretold these."""

    runs: int
    foretold: float
    """Mean loss; `low` to `high` is the 95 % interval of what is measured."""
    low: float
    high: float
    measured: float
    lever: float
    """Of the compute that was foretold; see `lever`."""


class Missed(NamedTuple):
    """A failed backtest: a mean loss that lies outside of the interval that was foretold for it."""

    name: str
    foretold: Estimate
    measured: float
    lever: float

    @property
    def off(self) -> float:
        """Share by which the foretold loss lies above the measured one."""
        return self.foretold.value / self.measured - 1


def missed(name: str, foretold: Estimate, measured: float, lever: float) -> list[Missed]:
    """The backtest, if it failed."""
    inside = foretold.low <= measured <= foretold.high
    return [] if inside else [Missed(name, foretold, measured, lever)]


def lever(flops: float, known: np.ndarray) -> float:
    """How far a compute lies from the middle of those that a law was fitted to, in logarithms; at
    least a doubling. A law that bends is off by the square of it."""
    return max(math.log(2), math.log(flops) - float(np.log(known).mean()))


def fit(runs: Sequence[Run], held_out: Sequence[Missed] = ()) -> Fit:
    """Fit all approaches; where the runs cannot be trusted, none, with the reasons. `held_out` are
    runs of these that an earlier fit foretold and missed."""
    columns = table(runs)
    refused = list(reasons(runs, columns))
    if refused:
        return Fit(runs, Cost(math.nan, 0.0), refused, [], math.nan, None, held_out)
    squares = fit_squares(columns)
    residual = columns.loss - squares.loss(columns.params, columns.tokens)
    noise = max(NOISE, math.sqrt(np.sum(residual**2) / (len(residual) - len(Surface._fields))))
    losses = redrawn(columns, squares)
    approaches = [_approach(name, runs, columns, losses) for name in APPROACHES]
    left = leave_largest_out(columns)
    misses = [*held_out]
    if left:
        told = Estimate(left.foretold, left.low, left.high)
        misses += missed("the largest compute, left out", told, left.measured, left.lever)
    return Fit(runs, cost_of(columns), [], approaches, noise, left, misses)


def optimum(found: Fit, approach: Approach, flops: float) -> Optimum | str:
    """The best size, tokens and loss at a compute with their intervals, or the reason why that
    cannot be told."""
    law, cost = approach.law, found.cost
    if law is None:
        return approach.reason
    if approach.undetermined:
        whys = (f"{symbol(name)} {why}" for name, why in approach.undetermined.items())
        return f"{'; '.join(whys)}: what is not determined bends the other constants"
    size = law.optimal_params(flops, cost)
    told = [math.isfinite(draw.optimal_params(flops, cost)) for draw in approach.draws]
    if not math.isfinite(size) or np.mean(told) < LEVEL:
        return "a term of the law vanishes or has the wrong sign, so that no size is the best"
    params = approach.interval(lambda law: law.optimal_params(flops, cost))
    tokens = approach.interval(lambda law: cost.tokens(flops, law.optimal_params(flops, cost)))
    wider = widening(found, flops, size, tokens.value)
    params, tokens = stretched(params, wider), stretched(tokens, wider)
    if not params.high <= UNDETERMINED * params.low:
        return f"the interval of the best size is {params}: these runs do not tell it"
    beyond = flops > max(run.flops for run in found.runs)
    if isinstance(law, PowerLaw):
        return Optimum(flops, params, tokens, None, beyond)
    loss = stretched(_loss(found, approach, size, tokens.value), wider)
    return Optimum(flops, params, tokens, loss, beyond)


def foretell(found: Fit, params: float, tokens: float, seeds: int = 1) -> Estimate:
    """The mean loss of that many runs of this size on so many tokens."""
    flops = params * tokens * found.cost.factor * params**found.cost.exponent
    wider = widening(found, flops, params, tokens, seeds)
    return stretched(_loss(found, found.surface, params, tokens, seeds), wider)


def widening(found: Fit, flops: float, params: float, tokens: float, seeds: int = 1) -> float:
    """What the intervals of a forecast are multiplied by, 1 if no backtest failed.

    The share by which one was missed, times the square of how much farther this compute lies from
    the middle of those tried (at least 1), is added to both sides of the interval of the loss;
    those of sizes grow alike.
    """
    at = lever(flops, table(found.runs).flops)
    share = max((abs(miss.off) * max(1, at / miss.lever) ** 2 for miss in found.missed), default=0)
    if not share:
        return 1.0
    loss = _loss(found, found.surface, params, tokens, seeds)
    return 1 + share * loss.value / (loss.high - loss.value)


SYMBOLS = {"irreducible": "E", "of_params": "A", "of_tokens": "B"}


def symbol(constant: str) -> str:
    """A constant as it is written in the law."""
    return SYMBOLS.get(constant, constant)


def _loss(found: Fit, by: Approach, params: float, tokens: float, seeds: int = 1) -> Estimate:
    """With the noise of the runs that are foretold, which is independent of the fit's own."""
    value, low, high = by.interval(lambda law: law.loss(params, tokens))
    noise = t.ppf((1 + LEVEL) / 2, by.free) * found.noise / math.sqrt(seeds)
    below, above = math.hypot(value - low, noise), math.hypot(high - value, noise)
    return Estimate(value, value - below, value + above)


def leave_largest_out(runs: Table) -> LeftOut | None:
    """What the runs below the largest compute foretell of it; None if they are too few."""
    largest = budgets(runs.flops)[-1].rows
    others = runs.take(np.setdiff1d(np.arange(len(runs.loss)), largest))
    if len(cells(others)) < LEAST_CELLS:
        return None
    asked = runs.take(largest)
    surface = fit_squares(others)
    foretold = float(surface.loss(asked.params, asked.tokens).mean())
    free = len(cells(others)) - len(Surface._fields)
    reach = float(t.ppf((1 + LEVEL) / 2, free)) * foretold_error(others, surface, asked)
    measured = float(asked.loss.mean())
    ends = foretold - reach, foretold + reach
    arm = lever(float(asked.flops.max()), others.flops)
    return LeftOut(len(largest), foretold, *ends, measured, arm)


def _approach(name: str, named_runs: Sequence[Run], runs: Table, losses: np.ndarray) -> Approach:
    free = len(cells(runs)) - len(Surface._fields)
    law: Callable[..., Surface | PowerLaw]
    again: Callable[..., Sequence[Surface | PowerLaw]]
    law, again = APPROACHES[name]
    try:
        found = law(runs)
    except Unfit as error:
        whose = f" ({named(named_runs, error.rows)})" if error.rows else ""
        return Approach(name, None, f"{error}{whose}", [], free, {})
    draws = again(runs, losses, found)
    if len(draws) < LEVEL * DRAWS:
        lost = DRAWS - len(draws)
        reason = f"{lost} of {DRAWS} sets of losses drawn about the runs' have no fit"
        return Approach(name, None, reason, [], free, {})
    return Approach(name, found, "", draws, free, _undetermined(found, draws, runs))


def _undetermined(
    law: Surface | PowerLaw, draws: Sequence[Surface | PowerLaw], runs: Table
) -> dict[str, str]:
    """Constants that are not determined by the runs, or whose interval reaches where they are not:
    so it is in more of the draws than an interval leaves out."""
    if not isinstance(law, Surface):
        return {}
    found = undetermined(law, runs)
    of_draws = [undetermined(draw, runs) for draw in draws if isinstance(draw, Surface)]
    for name in law._fields:
        whys = [of[name] for of in of_draws if name in of]
        if name not in found and len(whys) > (1 - LEVEL) * len(draws):
            found[name] = f"{whys[0]} ({len(whys)} of {len(draws)} drawn sets)"
    return found
