"""What speaks against the runs themselves, whatever is fitted to them: numbers, units, too few of
them, costs of two kinds, and runs that the others contradict."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import t

from launch.ladder.runs import SHOWN, Run, Table, budgets, cells, cost_of, named
from launch.ladder.surface import NOISE, Surface, fit_huber, fit_squares, fit_without

LEAST_CELLS, LEAST_SIZES = 8, 4
MOST_LOSS = 14.0
"""Nats a token that a guess among a million tokens costs."""
ALARM = 1e-4
"""Share of sets of sound runs in which noise alone may make one look like an outlier."""
CONVENTION = 0.08
"""Share by which FLOPs may differ from one law of sizes and tokens."""


def reasons(runs: Sequence[Run], columns: Table) -> Iterator[str]:
    """Why these runs cannot be trusted to tell the best size; nothing if they can."""
    found = list(_bad_rows(runs)) or list(_units(columns))[:1] or list(_too_few(columns))
    if not found:
        found = list(_conventions(runs, columns)) or list(_outliers(runs, columns))
    found = found or list(_unforetold(runs, columns))
    yield from found[:SHOWN]
    if len(found) > SHOWN:
        yield f"the same is so of {len(found) - SHOWN} more"


def _bad_rows(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        for field, value in run._asdict().items():
            known = field == "unique" or (field != "name" and np.isfinite(value))
            if field != "name" and not (known and value > 0):
                yield f"{run.name} has {field}={value:g}, which is no positive number"


def _units(runs: Table) -> Iterator[str]:
    for field, least, most in (("params", 1e3, 1e14), ("tokens", 1e5, 1e16)):
        middle = float(np.median(getattr(runs, field)))
        if not least <= middle <= most:
            hint = "millions or billions" if middle < least else "thousandths or less"
            yield f"{field} are {middle:.3g} in the median, as if counted in {hint}"
    ratio = float(np.median(runs.tokens / runs.params))
    if not 1e-2 <= ratio <= 1e6:
        yield f"there are {ratio:.3g} tokens a parameter, as if the two were counted in other units"
    cost = float(np.median(runs.flops / runs.params / runs.tokens))
    if not 1 <= cost <= 100:
        yield f"there are {cost:.3g} FLOPs for each parameter and token, where 6 are usual"
    loss = float(np.median(runs.loss))
    if loss > MOST_LOSS:
        yield f"loss is {loss:.3g} in the median, as if it were a perplexity or a sum over tokens"


def _too_few(runs: Table) -> Iterator[str]:
    if (count := len(cells(runs))) < LEAST_CELLS:
        yield (
            f"{count} different pairs of size and tokens are fewer than the {LEAST_CELLS} that "
            "five constants and a check of them need"
        )
    for field in ("params", "tokens"):
        count = len(np.unique(np.round(np.log(getattr(runs, field)), 2)))
        if count < LEAST_SIZES:
            yield f"{count} different {field} are fewer than the {LEAST_SIZES} that are needed"


def _conventions(runs: Sequence[Run], columns: Table) -> Iterator[str]:
    law = cost_of(columns)
    expected = law.factor * columns.params ** (1 + law.exponent) * columns.tokens
    apart = columns.flops / expected
    odd = np.flatnonzero(np.abs(np.log(apart)) > CONVENTION)
    if odd.size and _bends(columns):
        ends = int(columns.params.argmin()), int(columns.params.argmax())
        small, large = (f"{_per_token(columns)[row]:.2f}" for row in ends)
        yield (
            f"FLOPs are {small} of 6 N D at the smallest size ({runs[ends[0]].name}) and {large} "
            f"at the largest ({runs[ends[1]].name}), by no power of the size: params count "
            "embeddings that FLOPs leave out, or the reverse, and small models hold more of them, "
            "or one end was counted in another way; a law wants params without embeddings, or "
            "FLOPs / 6 D for them"
        )
    elif odd.size:
        names = named(
            [
                run._replace(name=f"{run.name} ({of:.2f}x)")
                for run, of in zip(runs, apart, strict=True)
            ],
            odd,
        )
        yield (
            f"FLOPs of {odd.size} runs are not what the others' would be for their size and "
            f"tokens: {names}; they are unfinished, or FLOPs are counted in two ways"
        )


def _per_token(runs: Table) -> np.ndarray:
    """FLOPs over 6 N D; (runs,)."""
    return runs.flops / (6 * runs.params * runs.tokens)


def _bends(runs: Table) -> bool:
    """Whether FLOPs for a parameter and token depend on the size alone, and in one direction."""
    order = np.argsort(runs.params, kind="stable")
    steps = np.diff(np.log(_per_token(runs))[order])
    return bool((steps >= -CONVENTION).all() or (steps <= CONVENTION).all())


def _outliers(runs: Sequence[Run], columns: Table) -> Iterator[str]:
    residual = columns.loss - fit_huber(columns).loss(columns.params, columns.tokens)
    sigma = max(NOISE, spread(residual))
    far = np.flatnonzero(np.abs(residual) > _far(columns, len(residual)) * sigma)
    for row in far[np.argsort(-np.abs(residual[far]))]:
        yield (
            f"{runs[row].name} has a loss of {columns.loss[row]:.4f}, which lies "
            f"{residual[row]:+.4f} off the surface of the others "
            f"({abs(residual[row]) / sigma:.0f} standard deviations)"
        )


def _unforetold(runs: Sequence[Run], columns: Table) -> Iterator[str]:
    """The run, or the runs of a budget, that are farthest off what all others foretell of them: at
    the corners of the sizes and tokens tried a surface bends to a single bad run."""
    groups = [
        (f"the budget of {budget.flops:.3g} FLOPs", budget.rows)
        for budget in budgets(columns.flops)
    ]
    groups = [(name, rows) for name, rows in groups if len(rows) > 1]
    groups += [(run.name, np.array([row])) for row, run in enumerate(runs)]
    surfaces = fit_without(columns, [rows for _, rows in groups], fit_squares(columns))
    told = [
        (name, rows, *_off(columns, rows, surface, len(groups)))
        for (name, rows), surface in zip(groups, surfaces, strict=True)
    ]
    name, rows, off, deviations, limit = max(told, key=lambda one: one[3] / one[4])
    if deviations > limit:
        whose = f": {named(runs, rows)}" if len(rows) > 1 else ""
        yield (
            f"{name} lies {off:+.4f} off what the others foretell ({deviations:.0f} standard "
            f"deviations){whose}"
        )


def _off(runs: Table, rows: np.ndarray, surface: Surface, tried: int) -> tuple[float, float, float]:
    """Mean loss of these runs above the surface of the others; the same in standard deviations, and
    how many are too many."""
    rest, asked = runs.take(np.delete(np.arange(len(runs.loss)), rows)), runs.take(rows)
    if len(cells(rest)) < LEAST_CELLS:
        return 0.0, 0.0, 1.0
    off = float((asked.loss - surface.loss(asked.params, asked.tokens)).mean())
    return off, abs(off) / foretold_error(rest, surface, asked), _far(rest, tried)


def _far(known: Table, tried: int) -> float:
    """Standard deviations that are too many for one of so many, when these cells tell the noise."""
    free = len(cells(known)) - len(Surface._fields)
    return float(t.isf(ALARM / 2 / tried, free))


def spread(residual: np.ndarray) -> float:
    """Standard deviation by the median of the residuals' sizes, without the smallest five: the
    surface has five constants, so that it goes through as many runs or nearly so."""
    return float(1.4826 * np.median(np.sort(np.abs(residual))[len(Surface._fields) :]))


def foretold_error(known: Table, surface: Surface, asked: Table) -> float:
    """Standard error of the mean loss foretold for those asked, noise of these included."""
    residual = known.loss - surface.loss(known.params, known.tokens)
    sigma = max(NOISE, spread(residual))
    slopes, mean = _slopes(surface, known), _slopes(surface, asked).mean(axis=0)
    solved = np.linalg.lstsq(slopes.T @ slopes, mean, rcond=None)[0]
    return float(sigma * np.sqrt(mean @ solved + 1 / len(asked.loss)))


def _slopes(surface: Surface, runs: Table) -> np.ndarray:
    """Of the loss by each constant, the factors by their logarithms: (runs, 5)."""
    of_params = surface.of_params * runs.params**-surface.alpha
    of_tokens = surface.of_tokens * runs.tokens**-surface.beta
    return np.stack(
        [
            np.ones_like(of_params),
            of_params,
            of_tokens,
            -of_params * np.log(runs.params),
            -of_tokens * np.log(runs.tokens),
        ],
        axis=1,
    )
