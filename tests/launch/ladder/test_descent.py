"""Many least-squares problems at once."""

import numpy as np
from scipy.optimize import lsq_linear

from launch.ladder.descent import Slope, descend


def curves(points: np.ndarray, problems: np.ndarray) -> Slope:
    """Rosenbrock's valley; its lowest point is (a, a^2), where a is 1, 2, ... by problem."""
    a = problems + 1.0
    x, y = points.T
    residual = np.stack([a - x, 10 * (y - x**2)], axis=1)
    slopes = np.zeros((len(points), 2, 2))
    slopes[:, 0, 0], slopes[:, 1, 0], slopes[:, 1, 1] = -1.0, -20 * x, 10.0
    return Slope(
        (residual**2).sum(axis=1) / 2,
        np.einsum("gnk,gn->gk", slopes, residual),
        np.einsum("gnk,gnl->gkl", slopes, slopes),
    )


def test_every_problem_is_solved_from_afar() -> None:
    bounds = np.array([[-50.0, -50.0], [50.0, 50.0]])
    points, costs = descend(np.tile([-3.0, 20.0], (4, 1)), curves, bounds)
    a = np.arange(1.0, 5.0)
    assert np.allclose(points, np.stack([a, a**2], axis=1), rtol=1e-4)
    assert (costs < 1e-8).all()


def test_bounds_are_kept_and_the_best_on_them_found() -> None:
    bounds = np.array([[-1.5, -5.0], [1.5, 5.0]])
    points, _ = descend(np.tile([0.0, 0.0], (3, 1)), curves, bounds)
    assert np.allclose(points, [[1, 1], [1.5, 2.25], [1.5, 2.25]], rtol=1e-4)
    bounds = np.array([[1.5, -5.0], [50.0, 50.0]])
    points, _ = descend(np.tile([1.5, 0.0], (3, 1)), curves, bounds)
    assert np.allclose(points, [[1.5, 2.25], [2, 4], [3, 9]], rtol=1e-4)


def test_on_a_bound_the_other_coordinates_find_their_best() -> None:
    """Columns are much alike: a step that is cut at the bound would go astray in the others."""
    chance = np.random.default_rng(0)
    columns = chance.normal(size=(50, 8, 1)) + 0.05 * chance.normal(size=(50, 8, 3))
    sought = np.einsum("gnk,gk->gn", columns, chance.normal(0, 3, (50, 3)))

    def slope(points: np.ndarray, problems: np.ndarray) -> Slope:
        among = columns[problems]
        residual = np.einsum("gnk,gk->gn", among, points) - sought[problems]
        return Slope(
            (residual**2).sum(axis=1) / 2,
            np.einsum("gnk,gn->gk", among, residual),
            np.einsum("gnk,gnl->gkl", among, among),
        )

    _, costs = descend(np.zeros((50, 3)), slope, np.array([[-1.0] * 3, [1.0] * 3]))
    best = [lsq_linear(a, b, (-1, 1)).cost for a, b in zip(columns, sought, strict=True)]
    assert np.allclose(costs, best, rtol=1e-5, atol=1e-9)
