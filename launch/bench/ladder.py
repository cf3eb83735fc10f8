"""What `meshloom ladder fit` makes of runs whose truth is known, sound and spoilt, as a table in
Markdown: `python -m launch.bench.ladder`."""

import itertools
import math
import textwrap
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Interval

from launch.ladder.fit import Fit, fit, foretell, optimum
from launch.ladder.notes import failed, warnings
from launch.ladder.runs import Run, Table, cost_of
from launch.ladder.surface import Surface, fit_squares
from launch.progress import Progress
from launch.words import run_module

TRUTH = Surface(1.69, 406.4, 410.7, 0.34, 0.28)
"""Equation 10 of Hoffmann et al. 2022 (arXiv:2203.15556)."""
BUDGETS, SIZES = np.geomspace(1e18, 1e20, 5), 7
SPAN, ASIDE = 5.0, 1.15
"""Sizes lie from a SPAN-th to SPAN times of what is best, and ASIDE of it, as nobody knows it."""
TARGET = 1e22
NOISE = 0.005


def ladder(budgets: np.ndarray, sizes: int) -> Table:
    """Runs of the true surface."""
    best = np.array([TRUTH.optimal_params(flops) for flops in budgets])
    params = np.outer(best * ASIDE, np.geomspace(1 / SPAN, SPAN, sizes)).ravel()
    flops = np.repeat(budgets, sizes)
    tokens = flops / (6 * params)
    return Table(params, tokens, flops, TRUTH.loss(params, tokens))


def sound(noise: np.ndarray) -> Table:
    """Runs of the true surface with that noise; (35,)."""
    return shifted(ladder(BUDGETS, SIZES), np.arange(len(noise)), noise)


def shifted(runs: Table, rows: np.ndarray, by: float | np.ndarray) -> Table:
    loss = runs.loss.copy()
    loss[rows] += by
    return runs._replace(loss=loss)


def short(runs: Table, rows: np.ndarray, share: float, *, told: bool) -> Table:
    """Those runs stopped at a share of their tokens; `told` if the table has the tokens they saw,
    beside the compute they were planned for."""
    seen = runs.tokens.copy()
    seen[rows] *= share
    apart = TRUTH.loss(runs.params, seen) - TRUTH.loss(runs.params, runs.tokens)
    return runs._replace(loss=runs.loss + apart, tokens=seen if told else runs.tokens)


def upside_down(runs: Table) -> Table:
    loss = runs.loss.copy()
    loss[TOP] = 2 * loss[TOP].mean() - loss[TOP]
    return runs._replace(loss=loss)


def only(runs: Table, *sizes: int) -> Table:
    return runs.take(np.isin(np.arange(len(runs.loss)) % SIZES, sizes))


TOP = np.arange(28, 35)
CASES: dict[str, Callable[[Table, np.ndarray], Table]] = {
    "nothing": lambda runs, one: runs,
    "one loss 0.3 too high": lambda runs, one: shifted(runs, one, 0.3),
    "one run diverged, 3 too high": lambda runs, one: shifted(runs, one, 3.0),
    "one loss is NaN": lambda runs, one: shifted(runs, one, np.nan),
    "half of the largest budget's runs are missing": lambda runs, one: runs.take(np.arange(32)),
    "the largest budget stopped half way, tokens told": (
        lambda runs, one: short(runs, TOP, 0.5, told=True)
    ),
    "the largest budget stopped half way, not told": (
        lambda runs, one: short(runs, TOP, 0.5, told=False)
    ),
    "one run stopped 8 % short, not told": lambda runs, one: short(runs, one, 0.92, told=False),
    "the largest budget's parabola opens down": lambda runs, one: upside_down(runs),
    "one size a budget": lambda runs, one: only(runs, 3),
    "two sizes a budget": lambda runs, one: only(runs, 2, 4),
    "three sizes a budget": lambda runs, one: only(runs, 1, 3, 5),
    "FLOPs of every second run counted with recomputation": (
        lambda runs, one: runs._replace(flops=runs.flops * np.where(np.arange(35) % 2, 1, 4 / 3))
    ),
    "tokens counted in billions": lambda runs, one: runs._replace(tokens=runs.tokens / 1e9),
}


class Told(NamedTuple):
    """What one approach told of the best size at TARGET."""

    ratio: float
    """To the true one; NaN if it told none."""
    right: bool
    """Whether the interval holds the true one."""
    reason: str


def judged(found: Fit) -> list[Told]:
    """By approach; a refusal of all is one of each."""
    if found.refused:
        return [Told(np.nan, False, found.refused[0])] * 3
    true = TRUTH.optimal_params(TARGET)
    tolds = []
    for approach in found.approaches[:3]:
        told = optimum(found, approach, TARGET)
        if isinstance(told, str):
            tolds.append(Told(np.nan, False, told))
            continue
        ratio, at = told.params.value / true, told.params
        # Of runs without noise the interval has no width but rounding.
        held = at.low * (1 - 1e-9) <= true <= at.high * (1 + 1e-9)
        tolds.append(Told(ratio, held, ""))
    return tolds


def fitted(runs: Table) -> list[Told]:
    return judged(fit(named(runs)))


def named(runs: Table) -> list[Run]:
    rows = zip(*runs, strict=True)
    return [Run(f"run {n}", *map(float, row)) for n, row in enumerate(rows)]


def main(
    table: Literal["spoilt", "coverage", "bent", "embeddings"] = "spoilt",
    sets: Annotated[int, Interval(ge=1, le=100_000)] | None = None,
) -> None:
    """Print a table.

    Args:
        table: Runs that are spoilt; how often intervals hold what is foretold; the same of a law
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


LADDERS = {
    "12 cells, noise 0.005": (4, 3, 1, 0.005),
    "12 cells of two seeds, noise 0.005": (4, 3, 2, 0.005),
    "16 cells, noise 0.004": (4, 4, 1, 0.004),
    "20 cells, noise 0.005": (5, 4, 1, 0.005),
}
"""Budgets from 1e18 to 1e20 FLOPs, sizes of each, seeds, and noise."""
BEYOND, SEEDS = 8, 3


def coverage(sets: int | None) -> Iterator[str]:
    """Of the mean of SEEDS runs of the best size at BEYOND times the largest compute."""
    sets = sets or 200
    yield f"| ladder | of {sets}: fitted | loss inside | size inside | half width | missed |"
    yield "|---|---|---|---|---|---|"
    for name, (budgets, sizes, seeds, noise) in LADDERS.items():
        chance = np.random.default_rng(0)
        outcomes = [_covered(budgets, sizes, seeds, noise, chance) for _ in range(sets)]
        done = np.array([outcome for outcome in outcomes if outcome])
        sized = done[:, 1][np.isfinite(done[:, 1])]
        yield (
            f"| {name} | {len(done)} | {done[:, 0].mean():.1%} | {sized.mean():.1%} of "
            f"{len(sized)} | {done[:, 2].mean():.2%} | {done[:, 3].mean():.1%} |"
        )


def _covered(
    budgets: int, sizes: int, seeds: int, noise: float, chance: np.random.Generator
) -> tuple[float, float, float, float] | None:
    """Whether the loss lay inside, whether the size did (NaN if none was told), half the interval
    over the loss, and whether the backtest failed; None if refused."""
    cells = ladder(np.geomspace(1e18, 1e20, budgets), sizes)
    runs = cells.take(np.repeat(np.arange(budgets * sizes), seeds))
    found = fit(named(runs._replace(loss=runs.loss + chance.normal(0, noise, len(runs.loss)))))
    if found.refused:
        return None
    flops = BEYOND * float(runs.flops.max())
    size = TRUTH.optimal_params(flops)
    told = foretell(found, size, flops / (6 * size), SEEDS)
    came = TRUTH.loss(size, flops / (6 * size)) + chance.normal(0, noise, SEEDS).mean()
    best = optimum(found, found.surface, flops)
    held = math.nan if isinstance(best, str) else best.params.low < size < best.params.high
    half = (told.high - told.low) / 2 / told.value
    return told.low < came < told.high, held, half, bool(found.missed)


BENDS = (-0.004, -0.0024, 0.004)
"""Nats for half the square of the logarithm of compute above 1e18 FLOPs."""


def bent(sets: int | None) -> Iterator[str]:
    """16 cells, noise 0.004: how often the loss lay inside where the backtest failed."""
    sets = sets or 50
    yield f"| bend | of {sets}: failed | inside at 8 x, widened | not | at 100 x, widened | not |"
    yield "|---|---|---|---|---|---|"
    cells = ladder(np.geomspace(1e18, 1e20, 4), 4)
    for bend in BENDS:
        chance, held = np.random.default_rng(0), []
        for _ in range(sets):
            noise = chance.normal(0, 0.004, len(cells.loss)) + _bend(bend, cells.flops)
            found = fit(named(shifted(cells, np.arange(16), noise)))
            if found.missed:
                both = found, found._replace(missed=[])
                held.append([_inside(of, beyond, bend) for beyond in (8, 100) for of in both])
        counts = np.sum(held, axis=0) if held else [0] * 4
        yield f"| {bend} | {len(held)} | {' | '.join(map(str, counts))} |"


def _bend(bend: float, flops: np.ndarray) -> np.ndarray:
    return bend / 2 * np.log(flops / 1e18) ** 2


def _inside(found: Fit, beyond: float, bend: float) -> bool:
    flops = beyond * max(run.flops for run in found.runs)
    size = TRUTH.optimal_params(flops)
    told = foretell(found, size, flops / (6 * size))
    true = TRUTH.loss(size, flops / (6 * size)) + float(_bend(bend, np.array(flops)))
    return told.low < true < told.high


SMALL = Surface(1.3, 28.0, 165.0, 0.30, 0.36)
"""About what models of 30 K to 400 K parameters follow on Python's standard library."""
WIDTHS = np.array([2**n * part for n in range(4, 11) for part in (4, 5, 6, 7)])
VOCABULARY = 32_000
BARE = 12 * np.maximum(1, WIDTHS // 64) * WIDTHS**2.0
"""Parameters without embeddings of models of these widths and depth width / 64."""


def embeddings(_: int | None) -> Iterator[str]:
    """Runs whose loss follows SMALL in parameters without embeddings, while those of VOCABULARY
    tokens, tied to the output, are counted or not; without noise. What a fit would tell if it told
    it in any case, and what is said."""
    yield "| N counts them, FLOPs | budgets | size, loss at 8 x | at 100 x | what is said |"
    yield "|---|---|---|---|---|"
    for least in (1e15, 1e17, 1e19):
        budgets = np.geomspace(least, 1000 * least, 5)
        rows = [
            (bare, width, flops)
            for flops in budgets
            for bare, width in zip(BARE, WIDTHS, strict=True)
            if 1 / SPAN < bare / SMALL.optimal_params(flops) < SPAN
        ]
        bare, width, flops = np.array(rows).T
        tokens = flops / (6 * bare)
        full, losses = bare + VOCABULARY * width, SMALL.loss(bare, tokens)
        span = f"{least:.0e} to {1000 * least:.0e}".replace("+", "")
        for name, runs in {
            "no, 6 N D": Table(bare, tokens, flops, losses),
            "yes, 6 N D": Table(full, tokens, 6 * full * tokens, losses),
            "yes, without them": Table(full, tokens, flops, losses),
        }.items():
            counted = VOCABULARY * (name[0] == "y")
            yield f"| {name} | {span} | {_biased(runs, budgets[-1], counted)} |"


def _biased(runs: Table, largest: float, counted: int) -> str:
    surface, cost = fit_squares(runs), cost_of(runs)
    told = []
    for beyond in (8, 100):
        best = SMALL.optimal_params(beyond * largest)
        size = best + counted * float(np.interp(best, BARE, WIDTHS))
        tokens = beyond * largest / (6 * best)
        flops = cost.factor * size ** (1 + cost.exponent) * tokens
        off = surface.loss(size, tokens) / SMALL.loss(best, tokens) - 1
        told.append(f"{surface.optimal_params(flops, cost) / size - 1:+.0%}, {off:+.2%}")
    found = fit(named(runs))
    said = [*found.refused, *failed(found.missed), *warnings(found.runs), "nothing"][0]
    return " | ".join([*told, textwrap.shorten(said, 60, placeholder=" ...")])


def row(name: str, spoil: Callable[[Table, np.ndarray], Table], sets: int) -> str:
    """One case as a row; counts of the three approaches that tell a size of such runs."""
    chance = np.random.default_rng(0)

    def one() -> np.ndarray:
        return chance.integers(len(BUDGETS) * SIZES, size=1)

    clean = fitted(spoil(sound(np.zeros(35)), one()))
    noisy = [fitted(spoil(sound(chance.normal(0, NOISE, 35)), one())) for _ in range(sets)]
    told = ", ".join(f"{t.ratio - 1:+.1%}" if not t.reason else "refused" for t in clean)
    counts = []
    for outcomes in zip(*noisy, strict=True):
        right, refused = sum(o.right for o in outcomes), sum(bool(o.reason) for o in outcomes)
        counts.append(f"{right} {refused} {sets - right - refused}")
    reasons = [t.reason for outcomes in [clean, *noisy] for t in outcomes[:1] if t.reason]
    reason = textwrap.shorten(reasons[0], 90, placeholder=" ...") if reasons else ""
    return f"| {name} | {told} | {' / '.join(counts)} | {reason} |"


if __name__ == "__main__":
    run_module(main, "launch.bench.ladder")
