"""Fair timing on a machine that others use too: what is compared takes turns."""

import statistics
import time
from collections.abc import Callable


def in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call in every round; each call is made once before, untimed."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def milliseconds(seconds: list[float]) -> dict[str, float]:
    """Median and minimum, in milliseconds."""
    return {
        "median_ms": round(statistics.median(seconds) * 1e3, 2),
        "min_ms": round(min(seconds) * 1e3, 2),
    }


def ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """`ours` over `theirs`: of the medians, and the median of the rounds' own ratios."""
    pairs = zip(ours, theirs, strict=True)
    return {
        "of_medians": round(statistics.median(ours) / statistics.median(theirs), 4),
        "of_minimums": round(min(ours) / min(theirs), 4),
        "median_by_round": round(statistics.median(a / b for a, b in pairs), 4),
    }
