"""Where a plan stands to what was fitted, as text of at most 80 columns and as JSON."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from launch.plan.domain import Aspect, Errors, Standing, two_digits


def domain_lines(standings: Sequence[Standing]) -> list[str]:
    """Inside or outside, what was fitted and what errors were seen; `standings` of one run on
    several numbers of chips."""
    first = standings[0]
    size, rows, chips = (first.ranges[name] for name in ("parameters", "length", "chips"))
    fitted = (
        f"{first.runs} published runs on {first.like}, {first.fitted} of them fitted, of "
        f"{_range(_size, size)} parameters, rows of {_range(_whole, rows)} tokens, "
        f"{_range(_whole, chips)} chips; {first.inside.runs} such {_runs(first.inside)} held back "
        f"from the fit {_off(first.inside)}"
    )
    outside = _outside(standings)
    if not outside:
        return _wrapped(f"inside what the time was fitted on: {fitted}")
    near = first.near
    return [
        *_wrapped(f"OUTSIDE what the time was fitted on: {'; '.join(outside)}"),
        *_wrapped(f"there: {fitted}"),
        *_wrapped(
            f"nearest to this, on {' and '.join(near.chips)}: {near.errors.runs} "
            f"{_runs(near.errors)} of {_range(_size, near.parameters)} parameters, rows of "
            f"{_range(_whole, near.length)} tokens, predicted {_signed(near.errors)}"
        ),
    ]


def domain_json(standing: Standing) -> dict[str, Any]:
    """The same, with all digits."""
    return {
        "fitted_on": standing.like,
        "runs": standing.runs,
        "fitted": standing.fitted,
        "ranges": standing.ranges,
        "outside": standing.outside,
        "held_back": _errors(standing.inside),
        "nearest": {**standing.near._asdict(), "errors": _errors(standing.near.errors)},
    }


def _errors(errors: Errors) -> dict[str, Any]:
    return {**errors._asdict(), "largest": errors.largest}


def _outside(standings: Sequence[Standing]) -> list[str]:
    """In what the run is none like those that were fitted, in words."""
    first = standings[0]
    where: dict[Aspect, str] = {
        "chip": f"{first.chip}, without a published run, taken as {first.like}",
        "parameters": f"{_size(first.asked['parameters'])} parameters",
        "length": f"rows of {first.asked['length']:,} tokens",
    }
    found = [told for aspect, told in where.items() if aspect in first.outside]
    counts = [f"{one.asked['chips']:,}" for one in standings if "chips" in one.outside]
    if counts:
        *before, last = counts
        listed = f"{', '.join(before)} and {last}" if before else last
        found.append(f"{listed} chip{'s' if counts != ['1'] else ''}")
    return found


def _runs(errors: Errors) -> str:
    return "run" if errors.runs == 1 else "runs"


def _off(errors: Errors) -> str:
    if errors.runs == 1:
        return f"was predicted {_signed(errors)}"
    return f"were predicted {errors.median:.1%} off in the median, {errors.largest:.1%} at most"


def _signed(errors: Errors) -> str:
    """The least and the most that was predicted too fast or too slow."""
    low, high = errors.lowest, errors.highest
    if errors.runs == 1:
        return _way(low)
    if high <= 0 or low >= 0:
        ends = sorted((abs(low), abs(high)))
        way = "fast" if high <= 0 else "slow"
        return f"{ends[0]:.1%} to {ends[1]:.1%} too {way}, {errors.median:.1%} in the median"
    return f"from {_way(low)} to {_way(high)}, {errors.median:.1%} off in the median"


def _way(error: float) -> str:
    return f"{abs(error):.1%} too {'fast' if error < 0 else 'slow'}"


def _range(shown: Callable[[int], str], span: tuple[int, int]) -> str:
    ends = tuple(map(shown, span))
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _whole(count: int) -> str:
    return f"{count:,}"


def _size(count: int) -> str:
    """Two digits of a number of parameters: 7.5 B, 410 B, 1.0 T."""
    count = two_digits(count)
    for unit, factor in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= factor:
            value = count / factor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return str(count)


def _wrapped(told: str) -> list[str]:
    return textwrap.wrap(told, 80, break_on_hyphens=False, subsequent_indent="  ")
