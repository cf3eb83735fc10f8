"""What speaks against the runs themselves, whatever is fitted to them: numbers, units, too few of
them, costs of two kinds, and runs that the others contradict; and what only bends a law of them."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import t

from launch.ladder.backtest import prediction_error, spread
from launch.ladder.runs import (
    SHOWN,
    ScalingRun,
    Table,
    budgets,
    cells,
    cost_of,
    counted,
    named,
    table,
)
from launch.ladder.surface import MIN_CELLS, Surface, fit_huber, fit_squares

MIN_SIZES = 4
MOST_LOSS = 14.0
"""Nats a token that a guess among a million tokens costs."""
ALARM = 1e-4
"""Share of sets of sound runs in which noise alone may make one look like an outlier."""
CONVENTION = 0.08
"""Share by which FLOPs may differ from one law of sizes and tokens."""
EPOCHS = 4.0
"""Repeated text is worth nearly as much as fresh text up to so many times (Muennighoff et al. 2023,
arXiv:2305.16264)."""
DRIFT = 0.05
"""Share by which FLOPs / 6 N D may change from the smallest to the largest size, unsaid."""


def reasons(runs: Sequence[ScalingRun], columns: Table) -> Iterator[str]:
    """Why these runs cannot be trusted to show the best size; nothing if they can."""
    checks = (
        lambda: list(_bad_rows(runs)),
        lambda: list(_units(columns))[:1],
        lambda: list(_too_few(columns)),
        lambda: list(_conventions(runs, columns)),
        lambda: list(_outliers(runs, columns)),
        lambda: list(_contradicted(runs, columns)),
    )
    against = next(filter(None, (check() for check in checks)), [])
    yield from against[:SHOWN]
    if len(against) > SHOWN:
        yield f"the same is so of {len(against) - SHOWN} more"


def _bad_rows(runs: Sequence[ScalingRun]) -> Iterator[str]:
    for run in runs:
        for field, value in run._asdict().items():
            known = field == "unique" or (field != "name" and np.isfinite(value))
            if field != "name" and not (known and value > 0):
                yield f"{run.name} has {field}={value:g}, which is no positive number"


def _units(runs: Table) -> Iterator[str]:
    for field, low, high in (("params", 1e3, 1e14), ("tokens", 1e5, 1e16)):
        middle = float(np.median(getattr(runs, field)))
        if not low <= middle <= high:
            hint = "millions or billions" if middle < low else "thousandths or less"
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
    if (count := len(cells(runs))) < MIN_CELLS:
        yield (
            f"{count} different pairs of size and tokens are fewer than the {MIN_CELLS} that "
            "five constants and a check of them need"
        )
    for field in ("params", "tokens"):
        count = len(np.unique(np.round(np.log(getattr(runs, field)), 2)))
        if count < MIN_SIZES:
            yield f"{count} different {field} are fewer than the {MIN_SIZES} that are needed"


def _conventions(runs: Sequence[ScalingRun], columns: Table) -> Iterator[str]:
    law = cost_of(columns)
    expected = law.factor * columns.params ** (1 + law.exponent) * columns.tokens
    apart = columns.flops / expected
    odd = np.flatnonzero(np.abs(np.log(apart)) > CONVENTION)
    if odd.size and _bends(columns):
        ends = int(columns.params.argmin()), int(columns.params.argmax())
        small, large = (f"{columns.flops_ratio[row]:.2f}" for row in ends)
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


def _bends(runs: Table) -> bool:
    """Whether FLOPs for a parameter and token depend on the size alone, and in one direction."""
    order = np.argsort(runs.params, kind="stable")
    steps = np.diff(np.log(runs.flops_ratio)[order])
    return bool((steps >= -CONVENTION).all() or (steps <= CONVENTION).all())


def _outliers(runs: Sequence[ScalingRun], columns: Table) -> Iterator[str]:
    residual = columns.loss - fit_huber(columns).loss(columns.params, columns.tokens)
    sigma = spread(residual)
    far = np.flatnonzero(np.abs(residual) > _far(columns, len(residual)) * sigma)
    for row in far[np.argsort(-np.abs(residual[far]))]:
        yield (
            f"{runs[row].name} has a loss of {columns.loss[row]:.4f}, which lies "
            f"{residual[row]:+.4f} off the surface of the others "
            f"({abs(residual[row]) / sigma:.0f} standard deviations)"
        )


def _contradicted(runs: Sequence[ScalingRun], columns: Table) -> Iterator[str]:
    """The run, or the runs of a budget, that are farthest off what all others predict of them: at
    the corners of the sizes and tokens tried a surface bends to a single bad run."""
    groups = [
        (f"the budget of {budget.flops:.3g} FLOPs", budget.rows)
        for budget in budgets(columns.flops)
        if len(budget.rows) > 1
    ]
    groups += [(run.name, np.array([row])) for row, run in enumerate(runs)]
    of_all, worst = fit_squares(columns), (1.0, "")
    for name, rows in groups:
        rest, asked = columns.without(rows), columns.take(rows)
        if len(cells(rest)) < MIN_CELLS:
            continue
        surface = fit_squares(rest, of_all)
        off = float((asked.loss - surface.loss(asked.params, asked.tokens)).mean())
        deviations = abs(off) / prediction_error(rest, surface, asked)
        whose = f": {named(runs, rows)}" if len(rows) > 1 else ""
        reason = (
            f"{name} lies {off:+.4f} off what the others predict ({deviations:.0f} standard "
            f"deviations){whose}"
        )
        worst = max(worst, (deviations / _far(rest, len(groups)), reason))
    if worst[1]:
        yield worst[1]


def _far(known: Table, tried: int) -> float:
    """Standard deviations that are too many for any of so many, when these cells show the noise."""
    free = len(cells(known)) - len(Surface._fields)
    return float(t.isf(ALARM / 2 / tried, free))


def epochs_unknown(runs: Sequence[ScalingRun]) -> bool:
    """Whether it is not known of every run how often it read its text."""
    return any(run.epochs == 0 for run in runs)


def warnings(runs: Sequence[ScalingRun]) -> list[str]:
    """What the runs' tokens and FLOPs say against a law of them."""
    return [*_repeated(runs), *_drift(table(runs))]


def _repeated(runs: Sequence[ScalingRun]) -> Iterator[str]:
    if rows := [row for row, run in enumerate(runs) if run.epochs > EPOCHS]:
        yield (
            f"REPEATED TEXT: {counted(len(rows))} read text more than {EPOCHS:g} times, up to "
            f"{max(run.epochs for run in runs):.3g} times: {named(runs, rows)}. The law takes all "
            "tokens as fresh, and repeated ones are worth less, so that long runs look worse than "
            "they would on more text."
        )


def _drift(runs: Table) -> Iterator[str]:
    small, large = (
        float(np.median(runs.flops_ratio[runs.params == end]))
        for end in (runs.params.min(), runs.params.max())
    )
    if abs(large / small - 1) <= DRIFT:
        return
    cause = (
        "params seem to count embeddings that FLOPs leave out; small models then look larger than "
        "they are, which bends the law"
        if small < large
        else "FLOPs count more than 6 for each parameter, as those of attention or of an output "
        "matrix that params leave out; these weigh most in small models, and N takes no account"
    )
    yield (
        f"N AND FLOPS DISAGREE: FLOPs are {small:.2f} of 6 N D at the smallest size and "
        f"{large:.2f} at the largest: {cause}."
    )
