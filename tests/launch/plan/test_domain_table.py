"""The lines about what was fitted are whole sentences of at most 80 columns for any plan."""

import json

from hypothesis import given

from launch.plan.domain_table import domain_json, domain_lines
from tests.launch.plan.test_domain import PLANS, standing


@given(**PLANS)
def test_lines_fit_the_screen_and_name_what_is_outside(
    chip: str, layers: int, length: int, chips: int
) -> None:
    found = standing(chip, layers, length, chips)
    lines = domain_lines([found])
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    first = text.split(" there: ")[0]
    assert first.startswith("OUTSIDE " if found.outside else "inside ")
    assert f"{found.runs} published runs on {found.like}, {found.fitted} of them fitted" in text
    if found.outside:
        assert ("parameters" in first) == ("parameters" in found.outside)
        assert (f"rows of {length:,} tokens" in first) == ("length" in found.outside)
        assert (f" {chips:,} chip" in first) == ("chips" in found.outside)
        assert (f"{chip}, without a published run" in first) == ("chip" in found.outside)
        assert f"{found.near.errors.runs} run" in text.split("nearest to this, on ")[1]
    assert json.loads(json.dumps(domain_json(found)))["outside"] == list(found.outside)


def test_errors_say_which_way_they_go() -> None:
    small = " ".join(domain_lines([standing("h100", 2, 2048, 8)]))
    assert "too fast, " in small and "too slow" not in small
    mixed = " ".join(domain_lines([standing("a100", 120, 512, 8)]))
    assert "from 6.2% too fast" not in mixed and "too slow" in mixed
    one = " ".join(" ".join(domain_lines([standing("v6e", 32, 8192, 256)])).split())
    assert one.endswith("1 such run held back from the fit was predicted 12.8% too fast")


def test_several_numbers_of_chips_are_told_together() -> None:
    standings = [standing("v6e", 80, 8192, chips) for chips in (64, 128, 256, 512)]
    told = " ".join(domain_lines(standings))
    assert "OUTSIDE what the time was fitted on: 64, 128 and 512 chips there: " in told
