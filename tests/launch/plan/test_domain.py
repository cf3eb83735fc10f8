"""What the published runs span, and how far off they are, is worked out from the runs alone."""

import dataclasses
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.config import RunConfig
from launch.plan.domain import Standing, points, standing_of, two_digits
from launch.plan.efficiency import NEAREST, efficiency
from launch.plan.topology import Topology
from launch.presets.preset import preset
from model.flops import parameter_count
from tests.published.case import BESIDE, FITTED, JUDGED, RUNS, case_of, chips_of
from train.chips import CHIPS

SHAPES = {0: lambda chips: (chips, 1), 2: lambda chips: (chips, 1), 3: lambda chips: (chips, 1, 1)}


def standing(chip: str, layers: int, length: int, chips: int) -> Standing:
    base = preset("llama3-8b")
    run = dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, num_layers=layers),
        data=dataclasses.replace(base.data, sequence_length=length),
    )
    return standing_of(run, Topology(CHIPS[chip], SHAPES[CHIPS[chip].torus](chips)))


PLANS: dict[str, Any] = {
    "chip": st.sampled_from(sorted(CHIPS)),
    "layers": st.integers(1, 20_000),
    "length": st.sampled_from([2**power for power in range(5, 21)]),
    "chips": st.integers(1, 20_000),
}


@given(**PLANS)
def test_outside_is_what_no_published_run_on_that_chip_spans(
    chip: str, layers: int, length: int, chips: int
) -> None:
    found = standing(chip, layers, length, chips)
    like = NEAREST.get(chip, chip)
    runs = [run for run in RUNS if run.chip == like]
    spans = {
        "parameters": [two_digits(parameter_count(run.model)) for run in runs],
        "length": [run.length for run in runs],
        "chips": [chips_of(run) for run in runs],
    }
    asked = {"parameters": two_digits(found.asked["parameters"]), "length": length, "chips": chips}
    outside = [name for name, of in spans.items() if not min(of) <= asked[name] <= max(of)]
    assert found.outside == (*(["chip"] if chip in NEAREST else []), *outside)
    assert (found.runs, found.like) == (len(runs), like)
    assert found.fitted == sum(run in FITTED for run in runs)


@given(**PLANS)
def test_the_nearest_runs_are_like_the_plan_or_there_are_none(
    chip: str, layers: int, length: int, chips: int
) -> None:
    found = standing(chip, layers, length, chips)
    near, size = found.near, found.asked["parameters"]
    assert near.errors.runs >= 1
    close = [
        point
        for point in points()
        if point.role != "fitted"
        and 0.5 <= point.parameters / size <= 2
        and 0.5 <= point.length / length <= 2
    ]
    own = [point for point in close if point.chip == found.like]
    if own:
        assert near.errors.runs == len(own) and near.chips == (found.like,)
    elif close:
        assert near.errors.runs <= len(close) and found.like not in near.chips
        assert 0.5 <= near.parameters[0] / size and near.parameters[1] / size <= 2


@pytest.mark.parametrize("chip", ["v4", "v5e", "v5p", "v6e", "a100", "h100"])
def test_errors_inside_are_those_of_runs_that_were_not_fitted(chip: str) -> None:
    found = standing(chip, 32, 8192, 64)
    spans = {name: of for name, of in found.ranges.items()}
    errors = []
    for run in (*JUDGED, *BESIDE):
        at = {"length": run.length, "chips": chips_of(run)}
        size = parameter_count(run.model)
        inside = all(spans[name][0] <= value <= spans[name][1] for name, value in at.items())
        inside &= spans["parameters"][0] * 0.99 <= size <= spans["parameters"][1] * 1.01
        if run.chip == chip and inside:
            case = case_of(run)
            errors.append(abs(case.error(efficiency(case.chip))))
    assert found.inside.runs == len(errors) >= 1
    assert found.inside.median == statistics.median(errors)
    assert found.inside.largest == max(errors)


def test_what_users_met_is_told() -> None:
    """1.2 B on eight H100: such runs were predicted a quarter and more too fast."""
    run: RunConfig = preset("llama3-1b")
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, sequence_length=2048))
    found = standing_of(run, Topology(CHIPS["h100"], (1, 8)))
    assert found.outside == ("parameters",)
    assert found.near.chips == ("h100",) and found.near.errors.highest < -0.2
