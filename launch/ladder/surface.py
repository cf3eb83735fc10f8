"""Loss as a surface over parameters and tokens, L = E + A / N^alpha + B / D^beta.

Approach 3 of Hoffmann et al. 2022 (arXiv:2203.15556), fitted in two ways: by least squares of the
loss, and by a Huber loss on the logarithms, as in the paper.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, least_squares, nnls

from launch.ladder.runs import SIX, Amount, Cost, Table

EXPONENTS = (0.01, 3.0)
"""Between these an exponent is looked for."""
HUBER = 1e-3
"""Residual of log loss from which on it counts linearly, as in the paper."""
FLAT = 0.1
"""Part of the weight by which what counts linearly bends a step's parabola: it is flat there, but
without any bend steps grow too long."""
LOWEST_FACTOR = math.exp(-50)
"""E, A and B of log losses are at least this."""
EVALUATIONS, NEARBY = 500, 100
"""Of a descent at most, from far and from near: most take few, but those of constants that the runs
do not determine."""
FIRST, BEST = 12, 4
"""Evaluations from each start of a Huber fit, and starts that go on from there to the end."""
NOISE = 1e-3
"""Loss in nats a token by which runs differ at least, were they repeated with another seed."""
AT_BOUND = 0.02
"""Share of its bound from which on an exponent counts as standing there."""
LARGEST = 700.0
"""Powers of e up to this one are floats."""
MIN_CELLS = 8
"""Pairs of size and tokens that five constants and a check of them need."""


class Surface(NamedTuple):
    """The fitted constants; N in parameters, D in tokens, loss in nats a token."""

    irreducible: float
    of_params: float
    of_tokens: float
    alpha: float
    beta: float

    def loss(self, params: Amount, tokens: Amount) -> Amount:
        """Loss at sizes and tokens, of their shape."""
        of_params: Any = self.of_params * params**-self.alpha
        of_tokens: Any = self.of_tokens * tokens**-self.beta
        return self.irreducible + of_params + of_tokens

    def optimal_params(self, flops: float, cost: Cost = SIX) -> float:
        """The size of the lowest loss at that compute; NaN if a term of the surface is not
        positive, or vanishes, so that there is none."""
        if min(self.of_params, self.of_tokens) <= 0:
            return math.nan
        grows = self.beta * (1 + cost.exponent)
        ratio = self.alpha * self.of_params / (grows * self.of_tokens)
        affords = self.beta * math.log(flops / cost.factor)
        return exponential((math.log(ratio) + affords) / (self.alpha + grows))


def exponential(value: float) -> float:
    """e to that power; NaN beyond what a float holds."""
    return math.exp(value) if abs(value) < LARGEST else math.nan


def undetermined(surface: Surface, runs: Table) -> dict[str, str]:
    """Constants that these runs do not determine, each with the reason: it stands at a bound of its
    search, it has the wrong sign, or its term is less than runs differ by chance, or than it
    changes among them.
    """
    terms = {
        "irreducible": np.full_like(runs.loss, surface.irreducible),
        "of_params": surface.of_params * runs.params**-surface.alpha,
        "of_tokens": surface.of_tokens * runs.tokens**-surface.beta,
    }
    reasons = {}
    for name, term in terms.items():
        if surface._asdict()[name] < 0:
            reasons[name] = "is below zero, as no loss is"
        elif term.max() < NOISE:
            reasons[name] = f"vanishes: its term is {term.max():.1e} nats or less in all runs"
    low, high = EXPONENTS
    for name, factor in (("alpha", "of_params"), ("beta", "of_tokens")):
        change = np.ptp(terms[factor])
        if not low * (1 + AT_BOUND) < surface._asdict()[name] < high * (1 - AT_BOUND):
            reasons[name] = f"stands at the bound of its search, {low:g} to {high:g}"
        elif factor in reasons or change < NOISE:
            reasons[name] = f"is of a term that changes by {change:.1e} nats among runs"
    return reasons


def fit_squares(runs: Table, near: Surface | None = None) -> Surface:
    """Least squares of the loss, from the best of a grid of exponents, or from `near`."""
    problem = _Problem.of(runs)
    if near:
        return problem.surface(problem.descend(problem.point(near), -np.inf, NEARBY))
    starts = problem.starts(24, lambda *system: np.linalg.lstsq(*system, rcond=None))
    best = min(starts, key=lambda point: float(np.sum(problem.residual(point) ** 2)))
    return problem.surface(problem.descend(best, -np.inf, EVALUATIONS))


def fit_huber(runs: Table, near: Surface | None = None) -> Surface:
    """The smallest Huber loss of the log residuals: the best from many starts, the pairs of a grid
    of exponents with the factors that least squares gives there; or from `near` alone."""
    problem = _Problem.of(runs, logarithmic=True)
    loss = {"loss": _huber, "f_scale": HUBER}
    if near:
        return problem.surface(problem.descend(problem.point(near), LOWEST_FACTOR, NEARBY, **loss))

    def descended(starts: Sequence[np.ndarray], evaluations: int) -> list[OptimizeResult]:
        ends = [problem.descend(start, LOWEST_FACTOR, evaluations, **loss) for start in starts]
        return sorted(ends, key=lambda end: end.cost)

    first = descended(problem.starts(6, nnls), FIRST)[:BEST]
    return problem.surface(descended([end.x for end in first], EVALUATIONS)[0])


def _huber(squared: np.ndarray) -> np.ndarray:
    """Huber's loss of squared residuals over HUBER squared, with its slope and its bend, (3, n)."""
    far = np.maximum(squared, 1.0)
    slope = far**-0.5
    loss = np.where(squared > 1, 2 / slope - 1, squared)
    return np.stack([loss, slope, np.where(squared > 1, (FLAT - 1) / 2 * slope / far, 0.0)])


class _Problem(NamedTuple):
    """A surface through runs as a problem of least squares in a point of E, A, B, alpha, beta.

    Sizes and tokens are taken about their geometric means, so that the columns are of one scale.
    """

    places: np.ndarray
    """Logarithms of sizes and tokens, off their means, (runs, 2)."""
    means: np.ndarray
    """These means, (2,)."""
    loss: np.ndarray
    logarithmic: bool
    """Whether residuals are those of the logarithm of the loss."""

    @classmethod
    def of(cls, runs: Table, *, logarithmic: bool = False) -> "_Problem":
        logs = np.log(np.stack([runs.params, runs.tokens], axis=1))
        return cls(logs - logs.mean(axis=0), logs.mean(axis=0), runs.loss, logarithmic)

    def point(self, surface: Surface) -> np.ndarray:
        """Where a surface lies."""
        scales = np.exp(-np.array(surface[3:]) * self.means)
        return np.array([surface[0], *(surface[1:3] * scales), *surface[3:]])

    def surface(self, end: OptimizeResult) -> Surface:
        """The surface of where a descent ended."""
        scales = np.exp(end.x[3:] * self.means)
        return Surface(*map(float, (end.x[0], *(end.x[1:3] * scales), *end.x[3:])))

    def columns(self, exponents: np.ndarray) -> np.ndarray:
        """1, N^-alpha and D^-beta, (runs, 3)."""
        columns = np.ones((len(self.loss), 3))
        np.exp(-exponents * self.places, out=columns[:, 1:])
        return columns

    def starts(self, steps: int, solve: Callable[..., Any]) -> list[np.ndarray]:
        """Points of a grid of exponents, each with the factors that `solve` gives first."""
        axis = np.linspace(0.05, 1.2, steps)
        pairs = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        return [np.append(solve(self.columns(pair), self.loss)[0], pair) for pair in pairs]

    def residual(self, point: np.ndarray) -> np.ndarray:
        """Predicted less measured, (runs,)."""
        predicted = self.columns(point[3:]) @ point[:3]
        return np.log(predicted / self.loss) if self.logarithmic else predicted - self.loss

    def slopes(self, point: np.ndarray) -> np.ndarray:
        """Of the residuals by the coordinates of the point, (runs, 5)."""
        columns = self.columns(point[3:])
        slopes = np.hstack([columns, -point[1:3] * columns[:, 1:] * self.places])
        return slopes / (columns @ point[:3])[:, None] if self.logarithmic else slopes

    def descend(
        self, start: np.ndarray, lowest_factor: float, evaluations: int, **loss: Any
    ) -> OptimizeResult:
        """The end of a descent within the bounds, and its cost there."""
        low, high = (
            np.repeat(ends, (3, 2)) for ends in zip((lowest_factor, np.inf), EXPONENTS, strict=True)
        )
        return least_squares(
            self.residual,
            np.clip(start, low, high),
            self.slopes,  # pyright: ignore[reportArgumentType]
            bounds=(low, high),
            method="dogbox",
            ftol=1e-12,
            xtol=1e-12,
            gtol=1e-14,
            max_nfev=evaluations,
            **loss,
        )
