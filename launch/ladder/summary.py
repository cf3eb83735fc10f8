"""A fit as facts, which are its JSON, and as text for people, which is made of these."""

import textwrap
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

from launch.ladder.backtest import EXTRAPOLATION, Backtest
from launch.ladder.checks import epochs_unknown, warnings
from launch.ladder.fit import SYMBOLS, Approach, ScalingFit, optimum
from launch.ladder.interval import plain
from launch.ladder.runs import budgets, table
from launch.ladder.surface import NOISE

WIDTH = 80


def facts_of(law_fit: ScalingFit, computes: Sequence[float]) -> dict[str, Any]:
    """What was fitted, and the optimum of every compute."""
    left = law_fit.left_out
    return {
        "failed_backtests": [
            {"name": miss.name, **_compared(miss), "off": miss.off} for miss in law_fit.missed
        ],
        "warnings": warnings(law_fit.runs),
        "runs": len(law_fit.runs),
        "cost": plain(law_fit.cost),
        "noise": law_fit.noise,
        "largest_left_out": left
        and {"runs": left.runs, **_compared(left), "lever": left.lever, "inside": not left.failed},
        "approaches": [approach_facts(law_fit, each, computes) for each in law_fit.approaches],
    }


def approach_facts(
    law_fit: ScalingFit, approach: Approach, computes: Sequence[float]
) -> dict[str, Any]:
    """The constants of a law with their intervals, and the optimum of every compute; or why there
    is no law."""
    if approach.law is None:
        return {"name": approach.name, "reason": approach.reason}
    constants = {}
    for name in approach.law._fields:
        value, *interval = approach.interval(attrgetter(name))
        constants[name] = {"value": value, "interval": interval}
        if why := approach.undetermined.get(name):
            constants[name] |= {"interval": None, "undetermined": why}
    best = [optimum_facts(law_fit, approach, flops) for flops in computes]
    return {"name": approach.name, "constants": constants, "optimum": best}


def optimum_facts(law_fit: ScalingFit, approach: Approach, flops: float) -> dict[str, Any]:
    """What is best at a compute, or the reason why that is not known."""
    best = optimum(law_fit, approach, flops)
    return {"flops": flops, "reason": best} if isinstance(best, str) else plain(best)


def _compared(test: Backtest) -> dict[str, float | None]:
    value, low, high = test.predicted
    return {"predicted": value, "low": low, "high": high, "measured": test.measured}


def lines_of(law_fit: ScalingFit, facts: dict[str, Any]) -> Iterator[str]:
    """The facts for people, in lines of WIDTH."""
    runs = table(law_fit.runs)
    groups, cost = budgets(runs.flops), law_fit.cost
    first = [*(miss.warning for miss in law_fit.missed), *facts["warnings"]]
    yield from (line for warning in first for line in textwrap.wrap(warning, WIDTH))
    yield from [""] if first else []
    yield (
        f"{len(runs.loss)} runs of {runs.params.min():.3g} to {runs.params.max():.3g} parameters, "
        f"{len(groups)} computes"
    )
    yield (
        f"from {groups[0].flops:.3g} to {groups[-1].flops:.3g} FLOPs; "
        f"FLOPs = {cost.factor:.3g} N^{1 + cost.exponent:.3g} D"
    )
    yield from ("", "loss = E + A / N^alpha + B / D^beta, with 95 % intervals:")
    for approach in facts["approaches"]:
        yield from _constants(approach)
    smallest = ", the smallest that is assumed" if law_fit.noise == NOISE else ""
    yield f"  a run lies {law_fit.noise:.2g} nats about it (standard deviation{smallest})"
    if epochs_unknown(law_fit.runs):
        yield "  it takes all tokens as fresh; with unique= in --columns epochs are looked at"
    if left := law_fit.left_out:
        whose, of = "run", "its loss"
        if left.runs > 1:
            whose, of = f"{left.runs} runs", "their mean loss"
        outside = ", OUTSIDE" if left.failed else ""
        yield f"without the {whose} of the most compute it predicts {of} as"
        yield (
            f"  {left.predicted.value:.4f}, from {left.predicted.ends()}; measured "
            f"{left.measured:.4f} ({left.off:+.2%}{outside})"
        )
    else:
        yield "without the runs of the most compute too few are left to predict them"
    computes = next((of["optimum"] for of in facts["approaches"] if "optimum" in of), [])
    for place, flops in enumerate(best["flops"] for best in computes):
        yield from ("", f"at {flops:.4g} FLOPs, with 95 % intervals:")
        if law_fit.missed and flops > groups[-1].flops:
            yield f"  {EXTRAPOLATION}"
        for approach in facts["approaches"]:
            best = approach["optimum"][place] if "optimum" in approach else approach
            none = ": none, because" if "reason" in best else ""
            yield f"  {approach['name']}{none}"
            yield from (f"  {line}" for line in optimum_lines(best))


def _constants(approach: dict[str, Any]) -> Iterator[str]:
    constants = approach.get("constants", {})
    if "irreducible" not in constants:
        return
    yield f"  {approach['name']}"
    for name, constant in constants.items():
        head = f"    {SYMBOLS.get(name, name):<7}"
        if why := constant.get("undetermined"):
            text = f"not determined: {constant['value']:.4g} {why}"
            yield from textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * 11)
        else:
            low, high = constant["interval"]
            yield f"{head}{constant['value']:<10.4g} {low:.4g} to {high:.4g}"


def optimum_lines(best: dict[str, Any]) -> list[str]:
    """Its size, tokens and loss, or the reason why there is none."""
    if "reason" in best:
        return textwrap.wrap(best["reason"], WIDTH - 2, initial_indent="  ", subsequent_indent="  ")
    return [
        f"  {name:<7}{best[name]['value']:<10.4g} {best[name]['low']:.4g} to "
        f"{best[name]['high']:.4g}"
        for name in ("params", "tokens", "loss")
        if best[name]
    ]
