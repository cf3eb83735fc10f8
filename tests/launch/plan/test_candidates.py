"""Which layouts a search compiles next, by what the compiler said of those before."""

from types import SimpleNamespace
from typing import Any

import pytest

from launch.plan.estimate import LayoutEstimate
from launch.plan.estimate import estimates as estimates_of
from launch.plan.search import next_of
from launch.plan.topology import parse
from launch.presets.preset import preset

CHIPS = parse("v5p-128")
ROOM = CHIPS.chip.memory


@pytest.fixture(scope="module")
def estimates() -> list[LayoutEstimate]:
    result = estimates_of(preset("llama3-8b"), CHIPS)
    return sorted(result, key=lambda estimate: estimate.time.seconds)


def said(peak: float, *, fits: bool) -> Any:
    """A plan, as far as the search looks at it."""
    return SimpleNamespace(fit=SimpleNamespace(peak=peak, fits=fits))


def test_the_fastest_that_seems_to_fit_is_first(estimates: list[LayoutEstimate]) -> None:
    first = next_of(estimates, CHIPS, [], [])
    assert first == next(estimate for estimate in estimates if estimate.bytes <= ROOM)


def test_what_was_wrong_of_a_layout_corrects_those_that_recompute_the_same(
    estimates: list[LayoutEstimate],
) -> None:
    first = next_of(estimates, CHIPS, [], [])
    assert first
    tight = [(first, said(ROOM * 1.5, fits=False))]
    second = next_of(estimates, CHIPS, tight, [])
    assert second and second != first
    factor = ROOM * 1.5 / first.bytes
    alike = second.config.model.remat == first.config.model.remat
    assert second.bytes * (factor if alike else 1) <= ROOM
    passed = estimates[: estimates.index(second)]
    assert any(
        e.bytes <= ROOM and e != first and e.config.model.remat == first.config.model.remat
        for e in passed
    ), "some that seemed to fit before are left out now"


def test_of_layouts_alike_the_first_that_fits_or_fails_is_enough(
    estimates: list[LayoutEstimate],
) -> None:
    first = next_of(estimates, CHIPS, [], [])
    assert first
    kind = (first.config.mesh.tensor, first.config.model.remat)
    after = [
        next_of(estimates, CHIPS, [(first, said(first.bytes, fits=True))], []),
        next_of(estimates, CHIPS, [], [(first, "broke off")]),
    ]
    for second in after:
        assert second and (second.config.mesh.tensor, second.config.model.remat) != kind


def test_where_nothing_seems_to_fit_the_smallest_is_tried(estimates: list[LayoutEstimate]) -> None:
    tight = CHIPS._replace(chip=CHIPS.chip._replace(memory=2**20))
    assert next_of(estimates, tight, [], []) == min(estimates, key=lambda e: e.bytes)


def test_nothing_is_left_when_all_were_tried(estimates: list[LayoutEstimate]) -> None:
    each = estimates[:1]
    assert next_of(each, CHIPS, [(each[0], said(1.0, fits=False))], []) is None
