"""Whether a plan lies inside what the efficiencies were fitted on, and how far predictions were off
there: `published.csv` lists the published runs, and `python -m tests.published` writes it."""

import csv
import functools
import math
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from launch.config import RunConfig
from launch.plan.efficiency import fitted_on
from launch.plan.topology import Topology
from model.flops import parameter_count
from train.chips import CHIPS
from train.report.numbers import COUNTS, in_unit

TABLE = Path(__file__).with_name("published.csv")
NEAR = 2.0
"""Times by which sizes and rows of runs differ at most from those of a plan that they are near."""
Aspect = Literal["chip", "parameters", "length", "chips"]
SPANNED: tuple[Aspect, ...] = ("parameters", "length", "chips")
"""What runs have a range of."""
Range = tuple[int, int]


class Point(NamedTuple):
    """A published run and how far off its prediction is."""

    chip: str
    parameters: int
    length: int
    chips: int
    error: float
    """Of the predicted seconds of a step, as a share of the published ones."""
    role: str
    """`fitted`, `judged`, or `extra`: outside the sizes and rows that were fitted."""


@dataclass(frozen=True)
class Errors:
    """Of runs that were not fitted; below 0 where a step was predicted too fast."""

    runs: int
    median: float
    """Of their sizes, without signs."""
    lowest: float
    highest: float
    largest: float
    """Without its sign."""


@dataclass(frozen=True)
class Nearest:
    """What the runs nearest to a plan in size and rows are."""

    chips: tuple[str, ...]
    parameters: Range
    length: Range
    errors: Errors


@dataclass(frozen=True)
class Standing:
    """Where a plan stands to the published runs on its kind of chip."""

    fitted_on: str
    """The chip whose runs gave the shares: itself, or the nearest with any."""
    runs: int
    """Published ones on that chip that were fitted or judged."""
    fitted: int
    ranges: dict[Aspect, Range]
    """Smallest and largest of those runs."""
    outside: tuple[Aspect, ...]
    """In what the plan is none like them."""
    not_fitted: Errors
    """Of all other runs in those ranges."""
    nearest: Nearest
    """Those nearest to the plan that were not fitted."""


@functools.cache
def points() -> tuple[Point, ...]:
    """All published runs."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Point(
                row["chip"],
                *(int(row[aspect]) for aspect in SPANNED),
                error=float(row["error"]),
                role=row["role"],
            )
            for row in csv.DictReader(file)
        )


def standing_of(config: RunConfig, topology: Topology) -> Standing:
    """Where a plan of that run on those chips stands."""
    like = fitted_on(topology.chip)
    parameters, length = parameter_count(config.model), config.data.sequence_length
    planned = dict(zip(SPANNED, (parameters, length, topology.chips), strict=True))
    of_chip = [point for point in points() if point.chip == like]
    runs = [point for point in of_chip if point.role != "extra"]
    ranges = ranges_of(runs)
    outside: list[Aspect] = ["chip"] if like != topology.chip.name else []
    outside.extend(name for name in SPANNED if not within(name, planned[name], ranges[name]))
    inside = [
        point
        for point in of_chip
        if point.role != "fitted"
        and all(within(name, getattr(point, name), ranges[name]) for name in SPANNED)
    ]
    return Standing(
        fitted_on=like,
        runs=len(runs),
        fitted=sum(point.role == "fitted" for point in runs),
        ranges=ranges,
        outside=tuple(outside),
        not_fitted=errors_of(inside),
        nearest=_nearest(like, parameters, length),
    )


def ranges_of(runs: Sequence[Point]) -> dict[Aspect, Range]:
    """Smallest and largest of the runs."""
    values: dict[Aspect, list[int]] = {
        name: [getattr(point, name) for point in runs] for name in SPANNED
    }
    return {name: (min(each), max(each)) for name, each in values.items()}


def within(aspect: Aspect, value: int, span: Range) -> bool:
    """Whether it is in the range; parameters to the two digits that are printed of them."""
    if aspect == "parameters":
        value, span = two_digits(value), (two_digits(span[0]), two_digits(span[1]))
    return span[0] <= value <= span[1]


def two_digits(count: int) -> int:
    """The number with all but its first two digits zero, rounded."""
    return int(float(f"{count:.1e}"))


def errors_of(runs: Sequence[Point]) -> Errors:
    errors = [point.error for point in runs]
    sizes = [abs(error) for error in errors]
    return Errors(len(runs), statistics.median(sizes), min(errors), max(errors), max(sizes))


def _nearest(chip: str, parameters: int, length: int) -> Nearest:
    """The runs not fitted whose size and rows differ least from those: within NEAR on that chip,
    else on chips of its platform, else on any; where there are none, the nearest of all."""
    not_fitted = [point for point in points() if point.role != "fitted"]

    def distance(point: Point) -> float:
        size, rows = point.parameters / parameters, point.length / length
        return max(abs(math.log(size)), abs(math.log(rows)))

    close = [point for point in not_fitted if distance(point) <= math.log(NEAR)]
    platform = CHIPS[chip].platform
    smallest = min(map(distance, not_fitted))
    runs = (
        [point for point in close if point.chip == chip]
        or [point for point in close if CHIPS[point.chip].platform == platform]
        or close
        or [point for point in not_fitted if distance(point) == smallest]
    )
    ranges = ranges_of(runs)
    chips = tuple(dict.fromkeys(point.chip for point in runs))
    return Nearest(chips, ranges["parameters"], ranges["length"], errors_of(runs))


def standing_lines(config: RunConfig, topologies: Sequence[Topology]) -> list[str]:
    """Inside or outside, what was fitted and what errors were seen, in lines of at most 80 columns,
    of a run on one or several numbers of the same chips."""
    standing = standing_of(config, topologies[0])
    errors, nearest = standing.not_fitted, standing.nearest
    fitted = (
        f"{standing.runs} published runs on {standing.fitted_on}, {standing.fitted} of them "
        f"fitted, of {_sizes(standing.ranges)}, {_range('{:,}'.format, standing.ranges['chips'])} "
        f"chips; {_runs('such run', errors)} held back from the fit "
    )
    if errors.runs == 1:
        fitted += f"was predicted {_signed(errors)}"
    else:
        fitted += (
            f"were predicted {errors.median:.1%} off in the median, {errors.largest:.1%} at most"
        )
    if outside := _outside(standing, config, topologies):
        texts = [
            f"OUTSIDE what the time was fitted on: {'; '.join(outside)}",
            f"there: {fitted}",
            f"nearest to this, on {' and '.join(nearest.chips)}: {_runs('run', nearest.errors)} of "
            f"{_sizes({'parameters': nearest.parameters, 'length': nearest.length})}, predicted "
            f"{_signed(nearest.errors)}",
        ]
    else:
        texts = [f"inside what the time was fitted on: {fitted}"]
    wrap = textwrap.TextWrapper(80, break_on_hyphens=False, subsequent_indent="  ").wrap
    return [line for text in texts for line in wrap(text)]


def _outside(standing: Standing, config: RunConfig, topologies: Sequence[Topology]) -> list[str]:
    """In what the run is none like those that were fitted, in words."""
    words: dict[Aspect, str] = {
        "chip": f"{topologies[0].chip.name}, without a published run, "
        f"taken as {standing.fitted_on}",
        "parameters": f"{_parameters(parameter_count(config.model))} parameters",
        "length": f"rows of {config.data.sequence_length:,} tokens",
    }
    outside = [word for aspect, word in words.items() if aspect in standing.outside]
    counts = [each.chips for each in topologies]
    beyond = [f"{n:,}" for n in counts if not within("chips", n, standing.ranges["chips"])]
    if beyond:
        listed = " and ".join(filter(None, [", ".join(beyond[:-1]), beyond[-1]]))
        outside.append(f"{listed} chip{'s' if beyond != ['1'] else ''}")
    return outside


def _runs(what: str, errors: Errors) -> str:
    return f"{errors.runs} {what}{'s' if errors.runs != 1 else ''}"


def _signed(errors: Errors) -> str:
    """The errors furthest apart, and which way they go."""
    low, high = errors.lowest, errors.highest
    if errors.runs == 1:
        return _way(low)
    if low < 0 < high:
        return f"from {_way(low)} to {_way(high)}, {errors.median:.1%} off in the median"
    near, far = sorted((low, high), key=abs)
    return f"{abs(near):.1%} to {_way(far)}, {errors.median:.1%} in the median"


def _way(error: float) -> str:
    return f"{abs(error):.1%} too {'fast' if error < 0 else 'slow'}"


def _sizes(ranges: Mapping[Aspect, Range]) -> str:
    lengths = _range("{:,}".format, ranges["length"])
    return f"{_range(_parameters, ranges['parameters'])} parameters, rows of {lengths} tokens"


def _range(shown: Callable[[int], str], span: Range) -> str:
    low, high = map(shown, span)
    return low if low == high else f"{low} to {high}"


def _parameters(count: int) -> str:
    """Two digits of a number of parameters: 7.5 B, 410 B, 1.0 T."""
    value, unit = in_unit(two_digits(count), COUNTS)
    return f"{value:.{1 if value < 10 and unit else 0}f} {unit}".rstrip()
