import math

import numpy as np
import pytest

from launch import exit_codes
from launch.cli import main
from launch.ladder.transfer import Curve, moved, verdict

RATES = 2.0 ** np.arange(-10, -2)


def parabola(width: int, vertex: float, kind: str = "mup") -> Curve:
    """Losses whose lowest point is at 2**vertex."""
    return Curve(kind, width, RATES, 2.0 + 0.1 * (np.log2(RATES) - vertex) ** 2)


@pytest.mark.parametrize("vertex", [-9.0, -7.4, -5.6, -5.0])
def test_the_best_rate_is_the_vertex(vertex: float) -> None:
    best = parabola(64, vertex).best
    assert best is not None
    assert math.log2(best) == pytest.approx(vertex)


@pytest.mark.parametrize(
    ("far", "words"),
    [
        (0.9, "the best rate transfers: from width 64 to 512 it moves by +0.90 steps"),
        (-0.9, "the best rate transfers: from width 64 to 512 it moves by -0.90 steps"),
        (1.1, "the best rate does not transfer"),
        (-3.0, "the best rate does not transfer"),
    ],
)
def test_less_than_a_step_of_the_grid_transfers(far: float, words: str) -> None:
    curves = [parabola(64, -6.0), parabola(128, -4.0), parabola(512, -6.0 + far)]
    assert moved(curves) == pytest.approx(far)
    assert words in verdict(curves)


@pytest.mark.parametrize("vertex", [-11.0, -2.0, math.nan])
def test_nothing_follows_from_a_best_rate_outside_the_grid(vertex: float) -> None:
    curves = [parabola(64, -6.0), parabola(512, vertex)]
    assert curves[1].best is None and moved(curves) is None
    text = verdict(curves)
    assert "mup: not known, because the best rate of width 512 is not inside the grid" in text
    assert "try --lowest and --octaves" in text


def test_a_diverged_run_next_to_the_best_shows_no_vertex() -> None:
    curve = parabola(64, -6.0)
    losses = curve.losses.copy()
    losses[-1] = math.nan
    assert curve._replace(losses=losses).best == curve.best
    losses[int(np.nanargmin(losses)) + 1] = math.nan
    assert curve._replace(losses=losses).best is None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("coordinate --widths 64", "widths=64 must be at least two"),
        ("transfer --widths 128 64", "widths=128 64 must be at least two, the narrowest first"),
        ("transfer --octaves 1", "octaves=1 must be at least 2"),
        ("transfer --lowest 0", "lowest=0.0 must be at least"),
        ("coordinate --seeds 0", "seeds=0 must be at least 1"),
        ("transfer tinny", "tiny"),
        ("coordinate tiny-bert", "model.kind=encoder must say its parametrization"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    words: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ladder", *words.split()]) in (exit_codes.REFUSED, exit_codes.USAGE)
    assert reason in capsys.readouterr().err
