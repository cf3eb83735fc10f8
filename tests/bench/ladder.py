"""What `meshloom ladder fit` makes of runs whose truth is known, sound and spoilt, as a table in
Markdown: `python -m tests.bench.ladder`."""

import itertools
import textwrap
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Interval

from launch.ladder.fit import ScalingFit, fit, optimum
from launch.ladder.runs import Table
from launch.process.progress import Progress
from launch.schema.command_line import run_module
from tests.bench.ladder_forecasts import bent, coverage, embeddings
from tests.bench.ladder_runs import (
    BUDGETS,
    NOISE,
    SIZES,
    TARGET,
    TOP,
    TRUTH,
    named,
    only,
    shifted,
    short,
    sound,
    upside_down,
)

CASES: dict[str, Callable[[Table, np.ndarray], Table]] = {
    "nothing": lambda runs, row: runs,
    "one loss 0.3 too high": lambda runs, row: shifted(runs, row, 0.3),
    "one run diverged, 3 too high": lambda runs, row: shifted(runs, row, 3.0),
    "one loss is NaN": lambda runs, row: shifted(runs, row, np.nan),
    "half of the largest budget's runs are missing": lambda runs, row: runs.take(np.arange(32)),
    "the largest budget stopped half way, tokens known": (
        lambda runs, row: short(runs, TOP, 0.5, known=True)
    ),
    "the largest budget stopped half way, unknown": (
        lambda runs, row: short(runs, TOP, 0.5, known=False)
    ),
    "one run stopped 8 % short, unknown": lambda runs, row: short(runs, row, 0.92, known=False),
    "the largest budget's parabola opens down": lambda runs, row: upside_down(runs),
    "one size a budget": lambda runs, row: only(runs, 3),
    "two sizes a budget": lambda runs, row: only(runs, 2, 4),
    "three sizes a budget": lambda runs, row: only(runs, 1, 3, 5),
    "FLOPs of every second run counted with recomputation": (
        lambda runs, row: runs._replace(flops=runs.flops * np.where(np.arange(35) % 2, 1, 4 / 3))
    ),
    "tokens counted in billions": lambda runs, row: runs._replace(tokens=runs.tokens / 1e9),
}


class JudgedSize(NamedTuple):
    """What one approach says of the best size at TARGET."""

    ratio: float
    """To the true one; NaN if it has none."""
    right: bool
    """Whether the interval holds the true one."""
    reason: str


def judged(law_fit: ScalingFit) -> list[JudgedSize]:
    """By approach; a refusal of all is one of each."""
    if law_fit.refused:
        return [JudgedSize(np.nan, False, law_fit.refused[0])] * 3
    true = TRUTH.optimal_params(TARGET)
    judgements = []
    for approach in law_fit.approaches[:3]:
        best = optimum(law_fit, approach, TARGET)
        if isinstance(best, str):
            judgements.append(JudgedSize(np.nan, False, best))
            continue
        ratio, at = best.params.value / true, best.params
        # Of runs without noise the interval has no width but rounding.
        right = at.low * (1 - 1e-9) <= true <= at.high * (1 + 1e-9)
        judgements.append(JudgedSize(ratio, right, ""))
    return judgements


def fitted(runs: Table) -> list[JudgedSize]:
    return judged(fit(named(runs)))


def main(
    table: Literal["spoilt", "coverage", "bent", "embeddings"] = "spoilt",
    sets: Annotated[int, Interval(ge=1, le=100_000)] | None = None,
) -> None:
    """Print a table.

    Args:
        table: Runs that are spoilt; how often intervals hold what is predicted; the same of a law
            that bends, where the backtest failed; or what comes of sizes that count embeddings.
        sets: Sets of runs with noise for each row; 100, 200 for the coverage, 50 for the bent.
    """
    tables = {"spoilt": spoilt, "coverage": coverage, "bent": bent, "embeddings": embeddings}
    lines = tables[table](sets)
    print(next(lines), next(lines), sep="\n", flush=True)
    for number in itertools.count(1):
        with Progress() as report:
            report(f"fitting the sets of row {number}")
            line = next(lines, None)
        if line is None:
            return
        print(line, flush=True)


def spoilt(sets: int | None) -> Iterator[str]:
    sets = sets or 100
    yield f"| spoilt | without noise | {sets} sets: right, refused, wrong | reason |"
    yield "|---|---|---|---|"
    for name, spoil in CASES.items():
        yield row(name, spoil, sets)


def row(name: str, spoil: Callable[[Table, np.ndarray], Table], sets: int) -> str:
    """One case as a row; counts of the three approaches that show a size of such runs."""
    chance = np.random.default_rng(0)

    def any_row() -> np.ndarray:
        return chance.integers(len(BUDGETS) * SIZES, size=1)

    clean = fitted(spoil(sound(np.zeros(35)), any_row()))
    noisy = [fitted(spoil(sound(chance.normal(0, NOISE, 35)), any_row())) for _ in range(sets)]
    ratios = ", ".join(f"{t.ratio - 1:+.1%}" if not t.reason else "refused" for t in clean)
    counts = []
    for outcomes in zip(*noisy, strict=True):
        right, refused = sum(o.right for o in outcomes), sum(bool(o.reason) for o in outcomes)
        counts.append(f"{right} {refused} {sets - right - refused}")
    reasons = [t.reason for outcomes in [clean, *noisy] for t in outcomes[:1] if t.reason]
    reason = textwrap.shorten(reasons[0], 90, placeholder=" ...") if reasons else ""
    return f"| {name} | {ratios} | {' / '.join(counts)} | {reason} |"


if __name__ == "__main__":
    run_module(main, "tests.bench.ladder")
