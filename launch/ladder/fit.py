"""Scaling laws from runs: the three approaches of Hoffmann et al. 2022 side by side, each with its
intervals or with the reason why it has none."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from launch.ladder.backtest import Backtest, lever, without_largest
from launch.ladder.checks import reasons
from launch.ladder.interval import DRAWS, LEVEL, Estimated, about, redrawn, students
from launch.ladder.power_law import PowerLaw, Unfit, fit_envelope, fit_parabolas
from launch.ladder.runs import Cost, ScalingRun, Table, cells, cost_of, named, table
from launch.ladder.surface import NOISE, Surface, fit_huber, fit_squares, undetermined

Law = Surface | PowerLaw
APPROACHES: dict[str, Callable[..., Law]] = {
    "surface, least squares": fit_squares,
    "surface, Huber on logs": fit_huber,
    "a parabola each budget": fit_parabolas,
    "envelope of the curves": fit_envelope,
}
"""How each is fitted to runs, and to other losses of them from the law that is near."""
WIDEST = 10.0
"""An interval whose ends are this factor apart says nothing."""
SYMBOLS = {"irreducible": "E", "of_params": "A", "of_tokens": "B"}


class Optimum(NamedTuple):
    """What is best at a compute."""

    flops: float
    params: Estimated
    tokens: Estimated
    loss: Estimated | None
    """Of one run; None where the approach has none."""
    extrapolates: bool
    """Whether no run had so much compute."""


class Approach(NamedTuple):
    """One way to fit, and what it gave."""

    name: str
    law: Law | None
    reason: str
    """Why it gave none; empty if it did."""
    draws: Sequence[Law]
    free: int
    """Cells more than a surface has constants; a cell is all runs of one size and tokens."""
    undetermined: dict[str, str]
    """Constants of the law that the runs do not determine, each with the reason; their values are
    not known, the others lean on them, and no best size follows."""

    def interval(self, of: Callable[[Any], float]) -> Estimated:
        """Something of the law with its interval; draws that have none of it are left out."""
        draws = np.array([of(draw) for draw in self.draws])
        return about(of(self.law), draws[np.isfinite(draws)], self.free)


class ScalingFit(NamedTuple):
    """Everything fitted to a set of runs."""

    runs: Sequence[ScalingRun]
    refused: list[str]
    """What speaks against any fit; if there is something, no approach has a law."""
    cost: Cost = Cost(math.nan, 0.0)
    approaches: Sequence[Approach] = ()
    noise: float = math.nan
    """Standard deviation of a run's loss about the surface."""
    left_out: Backtest | None = None
    """Of the runs of the most compute."""
    missed: Sequence[Backtest] = ()
    """The backtests that failed."""

    @property
    def surface(self) -> Approach:
        """The approach that forecasts are made with."""
        return self.approaches[0]

    def residual(self, runs: Table) -> np.ndarray:
        """How far runs lie above the surface, in standard deviations."""
        assert isinstance(self.surface.law, Surface)
        return (runs.loss - self.surface.law.loss(runs.params, runs.tokens)) / self.noise


def fit(runs: Sequence[ScalingRun], backtests: Sequence[Backtest] = ()) -> ScalingFit:
    """Fit all approaches; where the runs cannot be trusted, none, with the reasons. `backtests` are
    of runs that an earlier fit of these predicted."""
    columns = table(runs)
    if refused := list(reasons(runs, columns)):
        return ScalingFit(runs, refused)
    squares = fit_squares(columns)
    residual = columns.loss - squares.loss(columns.params, columns.tokens)
    noise = max(NOISE, math.sqrt(np.sum(residual**2) / (len(residual) - len(Surface._fields))))
    losses = redrawn(columns, squares)
    approaches = [_approach(name, runs, columns, losses) for name in APPROACHES]
    left = without_largest(columns)
    missed = [test for test in (*backtests, left) if test and test.failed]
    return ScalingFit(runs, [], cost_of(columns), approaches, noise, left, missed)


def optimum(law_fit: ScalingFit, approach: Approach, flops: float) -> Optimum | str:
    """The best size, tokens and loss at a compute with their intervals, or the reason why they are
    not known."""
    law, cost = approach.law, law_fit.cost
    if law is None:
        return approach.reason
    if approach.undetermined:
        whys = (f"{SYMBOLS.get(name, name)} {why}" for name, why in approach.undetermined.items())
        return f"{'; '.join(whys)}: what is not determined bends the other constants"
    size = law.optimal_params(flops, cost)
    known = [math.isfinite(draw.optimal_params(flops, cost)) for draw in approach.draws]
    if not math.isfinite(size) or np.mean(known) < LEVEL:
        return "a term of the law vanishes or has the wrong sign, so that no size is the best"
    params = approach.interval(lambda law: law.optimal_params(flops, cost))
    tokens = approach.interval(lambda law: cost.tokens(flops, law.optimal_params(flops, cost)))
    wider = widening(law_fit, flops, size, tokens.value)
    params, tokens = params.stretched(wider), tokens.stretched(wider)
    if not params.high <= WIDEST * params.low:
        return f"the interval of the best size is {params}: these runs do not determine it"
    loss = None
    if isinstance(law, Surface):
        loss = _loss(law_fit, approach, size, tokens.value).stretched(wider)
    return Optimum(flops, params, tokens, loss, flops > max(run.flops for run in law_fit.runs))


def predict(law_fit: ScalingFit, params: float, tokens: float, seeds: int = 1) -> Estimated:
    """The mean loss of that many runs of this size on so many tokens."""
    flops = params * tokens * law_fit.cost.factor * params**law_fit.cost.exponent
    wider = widening(law_fit, flops, params, tokens, seeds)
    return _loss(law_fit, law_fit.surface, params, tokens, seeds).stretched(wider)


def widening(
    law_fit: ScalingFit, flops: float, params: float, tokens: float, seeds: int = 1
) -> float:
    """What the intervals of a forecast are multiplied by, 1 if no backtest failed.

    The share by which one was missed, times the square of how much farther this compute lies from
    the middle of those tried (at least 1), is added to both sides of the interval of the loss;
    those of sizes grow alike.
    """
    at = lever(flops, table(law_fit.runs).flops)
    shares = (abs(miss.off) * max(1, at / miss.lever) ** 2 for miss in law_fit.missed)
    if not (share := max(shares, default=0)):
        return 1.0
    loss = _loss(law_fit, law_fit.surface, params, tokens, seeds)
    return 1 + share * loss.value / (loss.high - loss.value)


def _loss(
    law_fit: ScalingFit, by: Approach, params: float, tokens: float, seeds: int = 1
) -> Estimated:
    """With the noise of the runs that are predicted, which is independent of the fit's own."""
    value, low, high = by.interval(lambda law: law.loss(params, tokens))
    noise = students(by.free) * law_fit.noise / math.sqrt(seeds)
    below, above = math.hypot(value - low, noise), math.hypot(high - value, noise)
    return Estimated(value, value - below, value + above)


def _approach(
    name: str, runs: Sequence[ScalingRun], columns: Table, losses: np.ndarray
) -> Approach:
    fitted = APPROACHES[name]
    free = len(cells(columns)) - len(Surface._fields)
    try:
        law = fitted(columns)
    except Unfit as error:
        whose = f" ({named(runs, error.rows)})" if error.rows else ""
        return Approach(name, None, f"{error}{whose}", [], free, {})
    draws: list[Law] = []
    for loss in losses:
        with suppress(Unfit):
            draws.append(fitted(columns._replace(loss=loss), law))
    if len(draws) < LEVEL * DRAWS:
        lost = DRAWS - len(draws)
        reason = f"{lost} of {DRAWS} sets of losses drawn about the runs' have no fit"
        return Approach(name, None, reason, [], free, {})
    return Approach(name, law, "", draws, free, _undetermined(law, draws, columns))


def _undetermined(law: Law, draws: Sequence[Law], runs: Table) -> dict[str, str]:
    """Constants that are not determined by the runs, or whose interval reaches where they are not:
    so it is in more of the draws than an interval leaves out."""
    if not isinstance(law, Surface):
        return {}
    reasons = undetermined(law, runs)
    of_draws = [undetermined(draw, runs) for draw in draws if isinstance(draw, Surface)]
    for name in law._fields:
        whys = [of[name] for of in of_draws if name in of]
        if name not in reasons and len(whys) > (1 - LEVEL) * len(draws):
            reasons[name] = f"{whys[0]} ({len(whys)} of {len(draws)} drawn sets)"
    return reasons
