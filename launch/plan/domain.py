"""Whether a plan lies inside what the efficiencies were fitted on, and how far predictions were off
there: `published.csv` lists the published runs, and `python -m tests.published` writes it."""

import csv
import functools
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from launch.config import RunConfig
from launch.plan.efficiency import fitted_on
from launch.plan.topology import Topology
from model.flops import parameter_count
from train.chips import CHIPS

TABLE = Path(__file__).with_name("published.csv")
NEAR = 2.0
"""Times by which sizes and rows of runs differ at most from those of a plan that they are near."""
Aspect = Literal["chip", "parameters", "length", "chips"]
SPANNED: tuple[Aspect, ...] = ("parameters", "length", "chips")
"""What runs have a range of."""


class Point(NamedTuple):
    """A published run and how far off its prediction is."""

    chip: str
    parameters: int
    length: int
    chips: int
    error: float
    """Of the predicted seconds of a step, as a share of the published ones."""
    role: str
    """`fitted`, `judged`, or `beside`: outside the sizes and rows that were fitted."""


class Errors(NamedTuple):
    """Of runs that were not fitted; below 0 where a step was predicted too fast."""

    runs: int
    median: float
    """Of their sizes, without signs."""
    lowest: float
    highest: float

    @property
    def largest(self) -> float:
        """Without its sign."""
        return max(abs(self.lowest), abs(self.highest))


class Near(NamedTuple):
    """What the runs nearest to a plan in size and rows are."""

    chips: tuple[str, ...]
    parameters: tuple[int, int]
    length: tuple[int, int]
    errors: Errors


class Standing(NamedTuple):
    """Where a plan stands to the published runs on its kind of chip."""

    chip: str
    like: str
    """The chip whose runs gave the shares: itself, or the nearest with any."""
    asked: dict[Aspect, int]
    runs: int
    """Published ones on that chip that were fitted or judged."""
    fitted: int
    ranges: dict[Aspect, tuple[int, int]]
    """Least and most of those runs."""
    outside: tuple[Aspect, ...]
    """In what the plan is none like them."""
    inside: Errors
    """Of all runs in those ranges that were not fitted."""
    near: Near
    """Those nearest to the plan that were not fitted."""


@functools.cache
def points() -> tuple[Point, ...]:
    """All published runs."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Point(
                chip=row["chip"],
                parameters=int(row["parameters"]),
                length=int(row["length"]),
                chips=int(row["chips"]),
                error=float(row["error"]),
                role=row["role"],
            )
            for row in csv.DictReader(file)
        )


def standing_of(config: RunConfig, topology: Topology) -> Standing:
    """Where a plan of that run on those chips stands."""
    chip, like = topology.chip, fitted_on(topology.chip)
    parameters, length = parameter_count(config.model), config.data.sequence_length
    of_chip = [point for point in points() if point.chip == like]
    asked: dict[Aspect, int] = {"parameters": parameters, "length": length, "chips": topology.chips}
    of_fit = [point for point in of_chip if point.role != "beside"]
    ranges = ranges_of(of_fit)
    held_back = [point for point in of_chip if point.role != "fitted"]
    outside: list[Aspect] = ["chip"] if like != chip.name else []
    outside.extend(name for name in SPANNED if not within(name, asked[name], ranges[name]))
    return Standing(
        chip=chip.name,
        like=like,
        asked=asked,
        runs=len(of_fit),
        fitted=sum(point.role == "fitted" for point in of_fit),
        ranges=ranges,
        outside=tuple(outside),
        inside=errors_of([point for point in held_back if _inside(point, ranges)]),
        near=near_to(like, parameters, length),
    )


def ranges_of(found: Sequence[Point]) -> dict[Aspect, tuple[int, int]]:
    """Least and most of the runs."""
    spans: dict[Aspect, tuple[int, int]] = {}
    for name in SPANNED:
        values = [getattr(point, name) for point in found]
        spans[name] = min(values), max(values)
    return spans


def within(aspect: Aspect, value: int, span: tuple[int, int]) -> bool:
    """Whether it is in the range; parameters to the two digits that are told of them."""
    if aspect == "parameters":
        value, span = two_digits(value), (two_digits(span[0]), two_digits(span[1]))
    return span[0] <= value <= span[1]


def two_digits(count: int) -> int:
    """The number with all but its first two digits zero, rounded."""
    return int(float(f"{count:.1e}"))


def _inside(point: Point, ranges: dict[Aspect, tuple[int, int]]) -> bool:
    return all(within(name, getattr(point, name), span) for name, span in ranges.items())


def errors_of(found: Sequence[Point]) -> Errors:
    errors = [point.error for point in found]
    return Errors(len(found), statistics.median(map(abs, errors)), min(errors), max(errors))


def near_to(chip: str, parameters: int, length: int) -> Near:
    """The runs not fitted whose size and rows differ least from those: within NEAR on that chip,
    else on chips of its platform, else on any; where there are none, the nearest of all."""
    held_back = [point for point in points() if point.role != "fitted"]

    def apart(point: Point) -> float:
        size, rows = point.parameters / parameters, point.length / length
        return max(abs(math.log(size)), abs(math.log(rows)))

    close = [point for point in held_back if apart(point) <= math.log(NEAR)]
    platform = CHIPS[chip].platform
    least = min(map(apart, held_back))
    found = (
        [point for point in close if point.chip == chip]
        or [point for point in close if CHIPS[point.chip].platform == platform]
        or close
        or [point for point in held_back if apart(point) == least]
    )
    ranges = ranges_of(found)
    chips = tuple(dict.fromkeys(point.chip for point in found))
    return Near(chips, ranges["parameters"], ranges["length"], errors_of(found))
