"""A fit as text for people and as JSON for programs."""

import json
import textwrap
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from launch.ladder.fit import Approach, Fit, Missed, Optimum, optimum, symbol
from launch.ladder.interval import Estimate
from launch.ladder.notes import EXTRAPOLATION, FRESH, epochs_unknown, failed, warnings
from launch.ladder.runs import budgets, table
from launch.ladder.surface import NOISE, Surface


def as_text(found: Fit, computes: Sequence[float]) -> str:
    """What was fitted, from how many runs, and the optimum of every compute; 80 columns."""
    runs = table(found.runs)
    groups = budgets(runs.flops)
    first = [*failed(found.missed), *warnings(found.runs)]
    lines = [line for told in first for line in textwrap.wrap(told, 80)]
    lines += [
        *([""] if first else []),
        f"{len(found.runs)} runs of {runs.params.min():.3g} to {runs.params.max():.3g} parameters, "
        f"{len(groups)} computes",
        f"from {groups[0].flops:.3g} to {groups[-1].flops:.3g} FLOPs; "
        f"FLOPs = {found.cost.factor:.3g} N^{1 + found.cost.exponent:.3g} D",
    ]
    lines += ["", "loss = E + A / N^alpha + B / D^beta, with 95 % intervals:"]
    lines += [line for approach in found.approaches for line in _constants(approach)]
    least = ", the least that is assumed" if found.noise == NOISE else ""
    lines += [f"  a run lies {found.noise:.2g} nats about it (standard deviation{least})"]
    lines += [f"  {FRESH}"] if epochs_unknown(found.runs) else []
    if left := found.left_out:
        apart = left.foretold / left.measured - 1
        whose, of = "run", "its loss"
        if left.runs > 1:
            whose, of = f"{left.runs} runs", "their mean loss"
        outside = "" if left.low <= left.measured <= left.high else ", OUTSIDE"
        lines += [
            f"without the {whose} of the most compute it foretells {of} as",
            f"  {left.foretold:.4f}, from {left.low:.4f} to {left.high:.4f}; measured "
            f"{left.measured:.4f} ({apart:+.2%}{outside})",
        ]
    else:
        lines += ["without the runs of the most compute too few are left to foretell them"]
    for flops in computes:
        lines += ["", f"at {flops:.4g} FLOPs, with 95 % intervals:"]
        if found.missed and flops > groups[-1].flops:
            lines += [f"  {EXTRAPOLATION}"]
        lines += [line for approach in found.approaches for line in _lines(found, approach, flops)]
    return "\n".join(lines)


def _constants(approach: Approach) -> list[str]:
    if not isinstance(approach.law, Surface):
        return []
    lines = [f"  {approach.name}"]
    for name, told in constants_of(approach).items():
        if why := approach.undetermined.get(name):
            text = f"not determined: {told.value:.4g} {why}"
            head, *rest = textwrap.wrap(text, 80 - 11)
            lines += [f"    {symbol(name):<7}{head}", *(f"{'':11}{line}" for line in rest)]
        else:
            lines.append(f"    {symbol(name):<7}{_digits(told)}")
    return lines


def _lines(found: Fit, approach: Approach, flops: float) -> list[str]:
    told = optimum(found, approach, flops)
    if isinstance(told, str):
        because = textwrap.wrap(told, 76)
        return [f"  {approach.name}: not told, because", *(f"    {line}" for line in because)]
    estimates = [("params", told.params), ("tokens", told.tokens)]
    estimates += [("loss", told.loss)] if told.loss else []
    return [f"  {approach.name}"] + [
        f"    {name:<7}{_digits(estimate)}" for name, estimate in estimates
    ]


def _digits(estimate: Estimate) -> str:
    return f"{estimate.value:<10.4g} {estimate.low:.4g} to {estimate.high:.4g}"


def as_json(found: Fit, computes: Sequence[float]) -> str:
    """The same, with the constants of every approach and their intervals."""
    return json.dumps(
        {
            "failed_backtests": [_missed(miss) for miss in found.missed],
            "warnings": warnings(found.runs),
            "runs": len(found.runs),
            "cost": found.cost._asdict(),
            "noise": found.noise,
            "largest_left_out": _left_out(found),
            "approaches": [_approach(found, approach, computes) for approach in found.approaches],
        },
        indent=2,
    )


def _missed(miss: Missed) -> dict[str, Any]:
    told = {"name": miss.name, "foretold": miss.foretold.value}
    told |= {"low": miss.foretold.low, "high": miss.foretold.high}
    return told | {"measured": miss.measured, "off": miss.off}


def _left_out(found: Fit) -> dict[str, Any] | None:
    if (left := found.left_out) is None:
        return None
    return left._asdict() | {"inside": left.low <= left.measured <= left.high}


def _approach(found: Fit, approach: Approach, computes: Sequence[float]) -> dict[str, Any]:
    told: dict[str, Any] = {"name": approach.name}
    if approach.law is None:
        return told | {"reason": approach.reason}
    constants = {
        name: {"value": at.value, "interval": None, "undetermined": approach.undetermined[name]}
        if name in approach.undetermined
        else {"value": at.value, "interval": [at.low, at.high]}
        for name, at in constants_of(approach).items()
    }
    at = [_optimum(flops, optimum(found, approach, flops)) for flops in computes]
    return told | {"constants": constants, "optimum": at}


def constants_of(approach: Approach) -> dict[str, Estimate]:
    """By name, each with its interval; none if the approach has no law."""
    names = approach.law._fields if approach.law else ()
    return {name: approach.interval(attrgetter(name)) for name in names}


def _optimum(flops: float, told: Optimum | str) -> dict[str, Any]:
    if isinstance(told, str):
        return {"flops": flops, "reason": told}
    return {
        name: value._asdict() if isinstance(value, Estimate) else value
        for name, value in told._asdict().items()
    }
