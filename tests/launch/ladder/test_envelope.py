"""The lowest of the curves of loss over compute."""

import numpy as np
import pytest

from launch.ladder.envelope import fit_envelope, refit_envelope
from launch.ladder.isoflop import Unfit
from launch.ladder.runs import Table
from tests.bench.ladder_runs import TARGET, TRUTH, sound


def grid(tokens: np.ndarray) -> Table:
    """Twelve sizes, each trained on all these numbers of tokens."""
    sizes, seen = (part.ravel() for part in np.meshgrid(np.geomspace(5e7, 5e9, 12), tokens))
    return Table(sizes, seen, 6 * sizes * seen, TRUTH.loss(sizes, seen))


def test_a_grid_of_sizes_and_tokens_gives_the_true_size_roughly() -> None:
    runs = grid(np.geomspace(2e8, 2e11, 12))
    found = fit_envelope(runs)
    assert found.optimal_params(TARGET) == pytest.approx(TRUTH.optimal_params(TARGET), rel=0.1)
    noisy = runs.loss + np.random.default_rng(0).normal(0, 0.005, (3, 144))
    assert len(refit_envelope(runs, noisy, found)) == 3


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (sound(np.zeros(35)), "0 sizes were trained for 3 or more numbers of tokens"),
        (grid(np.geomspace(2e8, 8e8, 3)), "smallest or the largest size"),
    ],
)
def test_runs_that_have_no_envelope(runs: Table, reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        fit_envelope(runs)
    assert (
        refit_envelope(runs, runs.loss[None], fit_envelope(grid(np.geomspace(2e8, 2e11, 9)))) == []
    )
