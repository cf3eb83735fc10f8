"""What must be known before a fit is believed: backtests that failed, text that was repeated, and
sizes that count what their FLOPs do not."""

from collections.abc import Sequence

import numpy as np

from launch.ladder.digits import runs as runs_told
from launch.ladder.fit import Missed
from launch.ladder.runs import Run, named, table

EPOCHS = 4.0
"""Repeated text is worth nearly as much as fresh text up to so many times (Muennighoff et al. 2023,
arXiv:2305.16264)."""
DRIFT = 0.05
"""Share by which FLOPs / 6 N D may change from the smallest to the largest size, unsaid."""
FRESH = "it takes all tokens as fresh; with unique= in --columns epochs are looked at"
EXTRAPOLATION = "EXTRAPOLATION OF A LAW THAT FAILED ITS BACKTEST"


def failed(misses: Sequence[Missed]) -> list[str]:
    """A sentence or two for each backtest that failed."""
    return [
        f"FAILED BACKTEST: {miss.name}: foretold {miss.foretold.value:.4f} "
        f"({miss.foretold.low:.4f} to {miss.foretold.high:.4f}), measured {miss.measured:.4f}, "
        f"{miss.off:+.2%} off. Intervals of forecasts are widened by as much, and by more the "
        "farther they lie from the computes tried."
        for miss in misses
    ]


def epochs_unknown(runs: Sequence[Run]) -> bool:
    """Whether it is not known of every run how often it read its text."""
    return any(run.epochs == 0 for run in runs)


def warnings(runs: Sequence[Run]) -> list[str]:
    """What the runs' tokens and FLOPs say against a law of them."""
    return [*_repeated(runs), *_drift(runs)]


def _repeated(runs: Sequence[Run]) -> list[str]:
    rows = [row for row, run in enumerate(runs) if run.epochs > EPOCHS]
    if not rows:
        return []
    most = max(run.epochs for run in runs)
    return [
        f"REPEATED TEXT: {runs_told(len(rows))} read text more than {EPOCHS:g} times, up to "
        f"{most:.3g} times: {named(runs, rows)}. The law takes all tokens as fresh, and repeated "
        "ones are worth less, so that long runs look worse than they would on more text."
    ]


def _drift(runs: Sequence[Run]) -> list[str]:
    columns = table(runs)
    ratio = columns.flops / (6 * columns.params * columns.tokens)
    ends = columns.params.argmin(), columns.params.argmax()
    small, large = (float(np.median(ratio[columns.params == columns.params[end]])) for end in ends)
    if abs(large / small - 1) <= DRIFT:
        return []
    cause = (
        "params seem to count embeddings that FLOPs leave out; small models then look larger than "
        "they are, which bends the law"
        if small < large
        else "FLOPs count more than 6 for each parameter, as those of attention or of an output "
        "matrix that params leave out; these weigh most in small models, and N takes no account"
    )
    return [
        f"N AND FLOPS DISAGREE: FLOPs are {small:.2f} of 6 N D at the smallest size and "
        f"{large:.2f} at the largest: {cause}."
    ]
