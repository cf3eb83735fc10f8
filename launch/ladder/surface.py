"""Loss as a surface over parameters and tokens, L = E + A / N^alpha + B / D^beta.

Approach 3 of Hoffmann et al. 2022 (arXiv:2203.15556), fitted in two ways: by least squares with
E, A and B solved for exactly at every alpha and beta (variable projection, Golub and Pereyra
1973), and by a Huber loss on the logarithms, as in the paper.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from scipy.optimize import nnls

from launch.ladder.descent import Slope, descend
from launch.ladder.runs import SIX, Cost, Table

EXPONENTS = (0.01, 3.0)
"""Between these an exponent is looked for."""
HUBER = 1e-3
"""Residual of log loss from which on it counts linearly, as in the paper."""
FLAT = 0.1
"""Part of the weight by which what counts linearly bends a step's parabola: it is flat there, but
without any bend steps grow too long."""


NOISE = 1e-3
"""Loss in nats a token by which runs differ at least, were they repeated with another seed."""
AT_BOUND = 0.02
"""Share of its bound from which on an exponent counts as standing there."""
LARGEST = 700.0
"""Powers of e up to this one are floats."""


class Surface(NamedTuple):
    """The fitted constants; N in parameters, D in tokens, loss in nats a token."""

    irreducible: float
    of_params: float
    of_tokens: float
    alpha: float
    beta: float

    @overload
    def loss(self, params: float, tokens: float) -> float: ...
    @overload
    def loss(self, params: np.ndarray, tokens: np.ndarray) -> np.ndarray: ...
    def loss(self, params: Any, tokens: Any) -> Any:
        """Loss at sizes and tokens, of their shape."""
        return (
            self.irreducible
            + self.of_params * params**-self.alpha
            + self.of_tokens * tokens**-self.beta
        )

    def optimal_params(self, flops: float, cost: Cost = SIX) -> float:
        """The size of least loss at that compute; NaN if a term of the surface is not positive, or
        vanishes, so that there is none."""
        if min(self.of_params, self.of_tokens) <= 0:
            return math.nan
        grows = self.beta * (1 + cost.exponent)
        ratio = self.alpha * self.of_params / (grows * self.of_tokens)
        affords = self.beta * math.log(flops / cost.factor)
        return exponential((math.log(ratio) + affords) / (self.alpha + grows))


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
    found = {}
    for name, term in terms.items():
        if surface._asdict()[name] < 0:
            found[name] = "is below zero, as no loss is"
        elif term.max() < NOISE:
            found[name] = f"vanishes: its term is {term.max():.1e} nats or less in all runs"
    for name, factor in (("alpha", "of_params"), ("beta", "of_tokens")):
        value, (least, most) = surface._asdict()[name], EXPONENTS
        if not least * (1 + AT_BOUND) < value < most * (1 - AT_BOUND):
            found[name] = f"stands at the bound of its search, {least:g} to {most:g}"
        elif factor in found or np.ptp(terms[factor]) < NOISE:
            found[name] = (
                f"is of a term that changes by {np.ptp(terms[factor]):.1e} nats among runs"
            )
    return found


def exponential(value: float) -> float:
    """e to that power; NaN beyond what a float holds."""
    return math.exp(value) if abs(value) < LARGEST else math.nan


class Centred(NamedTuple):
    """Logarithms of sizes and tokens about their means, so that the columns are of one scale."""

    places: np.ndarray
    """Of sizes and tokens, (runs, 2)."""
    params_mean: float
    tokens_mean: float

    def columns(self, exponents: np.ndarray) -> np.ndarray:
        """1, N^-alpha and D^-beta: shape (..., runs, 3) for exponents of shape (..., 2)."""
        powers = np.exp(-exponents[..., None, :] * self.places)
        return np.concatenate([np.ones_like(powers[..., :1]), powers], axis=-1)

    def surface(self, exponents: np.ndarray, factors: np.ndarray) -> Surface:
        """The surface in N and D themselves."""
        (alpha, beta), (constant, of_params, of_tokens) = exponents, factors
        return Surface(
            float(constant),
            float(of_params * np.exp(alpha * self.params_mean)),
            float(of_tokens * np.exp(beta * self.tokens_mean)),
            float(alpha),
            float(beta),
        )


def centred(runs: Table) -> Centred:
    logs = np.log(np.stack([runs.params, runs.tokens], axis=1))
    params_mean, tokens_mean = logs.mean(axis=0)
    return Centred(logs - logs.mean(axis=0), float(params_mean), float(tokens_mean))


def fit_squares(runs: Table, near: Surface | None = None) -> Surface:
    """Least squares of the loss; started from the best of a grid of exponents, or from `near`."""
    logs = centred(runs)
    start = _best_of_grid(logs, runs.loss) if near is None else np.array(near[3:])
    return _squares(logs, runs.loss[None], np.ones((1, len(runs.loss))), start)[0]


def refit_squares(runs: Table, losses: np.ndarray, near: Surface) -> list[Surface]:
    """The same for other losses of these sizes and tokens, (fits, runs)."""
    return _squares(centred(runs), losses, np.ones_like(losses), np.array(near[3:]))


def fit_without(runs: Table, left_out: Sequence[np.ndarray], near: Surface) -> list[Surface]:
    """The same for all runs but these, for each set of rows."""
    weights = np.ones((len(left_out), len(runs.loss)))
    for weight, rows in zip(weights, left_out, strict=True):
        weight[rows] = 0
    losses = np.tile(runs.loss, (len(weights), 1))
    return _squares(centred(runs), losses, weights, np.array(near[3:]))


def _squares(
    logs: Centred, losses: np.ndarray, weights: np.ndarray, start: np.ndarray
) -> list[Surface]:
    weighted = weights * losses

    def solved(
        exponents: np.ndarray, fits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        columns = logs.columns(exponents) * weights[fits, :, None]
        q, r = np.linalg.qr(columns)
        factors = np.linalg.solve(r, np.einsum("gnk,gn->gk", q, weighted[fits])[..., None])[..., 0]
        return columns, q, factors

    def slope(exponents: np.ndarray, fits: np.ndarray) -> Slope:
        columns, q, factors = solved(exponents, fits)
        residual = np.einsum("gnk,gk->gn", columns, factors) - weighted[fits]
        turned = -factors[:, None, 1:] * columns[..., 1:] * logs.places
        turned -= q @ (np.swapaxes(q, 1, 2) @ turned)
        return Slope(
            (residual**2).sum(axis=1) / 2,
            np.einsum("gnk,gn->gk", turned, residual),
            np.einsum("gnk,gnl->gkl", turned, turned),
        )

    bounds = np.array([EXPONENTS] * 2).T
    exponents, _ = descend(np.tile(start, (len(losses), 1)), slope, bounds)
    factors = solved(exponents, np.arange(len(losses)))[2]
    found = zip(exponents, factors, strict=True)
    return [logs.surface(pair, of) for pair, of in found]


def fit_huber(runs: Table) -> Surface:
    """Least Huber loss of the log residuals, from many starts: the pairs of a grid of exponents,
    with the factors that least squares gives there."""
    logs, pairs = centred(runs), _grid(6)
    factors = [_positive(logs.columns(pair), runs.loss) for pair in pairs]
    starts = np.concatenate([np.log(factors), pairs], axis=1)
    points, costs = _huber(logs, np.tile(runs.loss, (len(starts), 1)), starts)
    best = points[costs.argmin()]
    return logs.surface(best[3:], np.exp(best[:3]))


def refit_huber(runs: Table, losses: np.ndarray, near: Surface) -> list[Surface]:
    """The same for other losses of these sizes and tokens, (fits, runs), each from `near` alone."""
    logs = centred(runs)
    shift = np.array([0, near.alpha * logs.params_mean, near.beta * logs.tokens_mean])
    start = np.concatenate([np.log(near[:3]) - shift, near[3:]])
    points, _ = _huber(logs, losses, np.tile(start, (len(losses), 1)))
    return [logs.surface(point[3:], np.exp(point[:3])) for point in points]


def _huber(logs: Centred, losses: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    log_losses = np.log(losses)

    def slope(points: np.ndarray, fits: np.ndarray) -> Slope:
        terms = logs.columns(points[:, 3:]) * np.exp(points[:, None, :3])
        total = terms.sum(axis=2, keepdims=True)
        share = terms / total
        turned = np.concatenate([share, -share[..., 1:] * logs.places], axis=2)
        residual = (np.log(total[..., 0]) - log_losses[fits]) / HUBER
        size = np.abs(residual)
        weight = 1 / np.maximum(size, 1)
        bend = np.where(size <= 1, 1.0, FLAT * weight)
        return Slope(
            np.where(size <= 1, size**2 / 2, size - 0.5).sum(axis=1),
            np.einsum("gnk,gn->gk", turned, weight * residual) / HUBER,
            np.einsum("gnk,gnl,gn->gkl", turned, turned, bend) / HUBER**2,
        )

    return descend(starts, slope, np.array([(-50, 50)] * 3 + [EXPONENTS] * 2).T)


def _grid(steps: int) -> np.ndarray:
    """Pairs of exponents, (steps^2, 2)."""
    axis = np.linspace(0.05, 1.2, steps)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


def _best_of_grid(logs: Centred, loss: np.ndarray) -> np.ndarray:
    pairs = _grid(24)
    q, _ = np.linalg.qr(logs.columns(pairs))
    projected = np.einsum("gnk,gk->gn", q, np.einsum("gnk,n->gk", q, loss))
    return pairs[np.argmin(((loss - projected) ** 2).sum(axis=1))]


def _positive(columns: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """The factors of least squares, each above zero."""
    return np.maximum(nnls(columns, loss)[0], 1e-6)
