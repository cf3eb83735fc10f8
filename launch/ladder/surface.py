"""Loss as a surface over parameters and tokens, L = E + A / N^alpha + B / D^beta.

Approach 3 of Hoffmann et al. 2022 (arXiv:2203.15556), fitted in two ways: by least squares of the
loss, and by a Huber loss on the logarithms, as in the paper.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import leastsq, nnls

from launch.ladder.runs import SIX, Amount, Cost, Table

EXPONENTS = (0.01, 3.0)
"""Between these an exponent is looked for."""
HUBER = 1e-3
"""Residual of log loss from which on it counts linearly, as in the paper."""
LOWEST_FACTOR = math.exp(-50)
"""E, A and B of log losses are at least this."""
EVALUATIONS = 200
"""Of a descent at most: most take few, but those of constants that the runs do not determine."""
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
    start = problem.point(near) if near else min(problem.starts(24), key=problem.cost)
    return problem.surface(problem.descend(start))


def fit_huber(runs: Table, near: Surface | None = None) -> Surface:
    """The smallest Huber loss of the log residuals: the best from many starts, the pairs of a grid
    of exponents with the factors that least squares gives there; or from `near` alone."""
    problem = _Problem.of(runs, huber=True)
    starts = [problem.point(near)] if near else problem.starts(6)
    return problem.surface(min(map(problem.descend, starts), key=problem.cost))


class _Problem(NamedTuple):
    """A surface through runs as a problem of least squares in a point of E, A, B, alpha, beta.

    Sizes and tokens are taken about their geometric means, so that the columns are of one scale.
    """

    places: np.ndarray
    """Logarithms of sizes and tokens, off their means, (runs, 2)."""
    means: np.ndarray
    """These means, (2,)."""
    loss: np.ndarray
    huber: bool
    """Whether residuals are logarithmic, and count linearly where they are large."""

    @classmethod
    def of(cls, runs: Table, *, huber: bool = False) -> "_Problem":
        logs = np.log(np.stack([runs.params, runs.tokens], axis=1))
        return cls(logs - logs.mean(axis=0), logs.mean(axis=0), runs.loss, huber)

    def point(self, surface: Surface) -> np.ndarray:
        """Where a surface lies."""
        scales = np.exp(-np.array(surface[3:]) * self.means)
        return np.array([surface[0], *(surface[1:3] * scales), *surface[3:]])

    def surface(self, point: np.ndarray) -> Surface:
        """The surface of a point."""
        scales = np.exp(point[3:] * self.means)
        return Surface(*map(float, (point[0], *(point[1:3] * scales), *point[3:])))

    def columns(self, exponents: np.ndarray) -> np.ndarray:
        """1, N^-alpha and D^-beta, (runs, 3)."""
        columns = np.ones((len(self.loss), 3))
        np.exp(-exponents * self.places, out=columns[:, 1:])
        return columns

    def starts(self, steps: int) -> list[np.ndarray]:
        """Points of a grid of exponents, each with the factors of least squares there."""
        axis = np.linspace(0.05, 1.2, steps)
        pairs = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        if self.huber:
            factors = [nnls(self.columns(pair), self.loss)[0] for pair in pairs]
        else:
            factors = np.linalg.pinv(np.stack([*map(self.columns, pairs)])) @ self.loss
        return list(np.hstack([factors, pairs]))

    def cost(self, point: np.ndarray) -> float:
        """The sum of squares, of Huber's losses over half of HUBER squared."""
        return float(np.sum(self.residual(point) ** 2))

    def residual(self, point: np.ndarray) -> np.ndarray:
        """Predicted less measured, (runs,); for Huber's loss the square is twice that loss."""
        predicted = self.columns(point[3:]) @ point[:3]
        if not self.huber:
            return predicted - self.loss
        off = np.log(predicted / self.loss) / HUBER
        far = np.maximum(np.abs(off), 1.0)
        return off * np.sqrt(2 * far - 1) / far

    def slopes(self, point: np.ndarray) -> np.ndarray:
        """Of the residuals by the coordinates of the point, (runs, 5)."""
        columns = self.columns(point[3:])
        slopes = np.hstack([columns, -point[1:3] * columns[:, 1:] * self.places])
        if not self.huber:
            return slopes
        predicted = columns @ point[:3]
        far = np.maximum(np.abs(np.log(predicted / self.loss)) / HUBER, 1.0)
        return slopes / (predicted * HUBER * np.sqrt(2 * far - 1))[:, None]

    def descend(self, start: np.ndarray) -> np.ndarray:
        """The end of a descent within the bounds: of what goes beyond its own the first, E before
        the exponents, is put there, and the others descend once more."""
        lowest = LOWEST_FACTOR if self.huber else -np.inf
        low, high = np.array([(lowest, np.inf)] * 3 + [EXPONENTS] * 2).T
        start = np.clip(start, low, high)
        point, free = start.copy(), np.arange(5)

        def at(some: np.ndarray, free: np.ndarray) -> np.ndarray:
            point[free] = some
            return point

        while free.size:
            with np.errstate(all="ignore"):
                end, *_ = leastsq(
                    lambda some, free: self.residual(at(some, free)),
                    start[free],
                    args=(free,),
                    Dfun=lambda some, free: self.slopes(at(some, free))[:, free],
                    full_output=True,
                    ftol=1e-14,
                    xtol=1e-12,
                    gtol=1e-14,
                    maxfev=EVALUATIONS,
                )
            beyond = free[(end < low[free]) | (end > high[free])]
            at(np.clip(end, low[free], high[free]), free)
            if not beyond.size:
                break
            free = free[free != beyond[0]]
        return point
