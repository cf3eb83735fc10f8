"""The share of a run's wall time, over all its starts, in which it trained."""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

from launch.run.timeline import Span

KINDS = {
    "steps": "steps that count",
    "data_wait": "those steps waited for data",
    "evaluate": "evaluation",
    "save": "saves, while steps stood still",
    "start": "start: processes, devices, data",
    "compile": "compiling",
    "restore": "verifying and reading checkpoints",
    "profile": "writing profiles",
    "finish": "finish: last save, picture, sample",
    "lost": "lost: steps that had to be repeated",
    "down": "down: no process ran",
}
"""What every second of a run is counted as."""


class Stretch(NamedTuple):
    """A part of the run's wall time that is of one kind."""

    kind: str
    begin: float
    end: float


class Attempt(NamedTuple):
    """One start of the run."""

    number: int
    begin: float
    end: float
    first_step: int | None
    """The first step it finished; None if it finished none."""
    last_step: int | None
    ended: str
    """As its process reported, or the phase in which it was last seen."""
    rollbacks: list[int]
    """The steps it went back to."""


def totals(spans: list[Span]) -> dict[str, float]:
    """Seconds of each kind; they sum to the wall time from the first start to the last end."""
    seconds = dict.fromkeys(KINDS, 0.0)
    for kind, begin, end in parts(spans):
        seconds[kind] += end - begin
    return seconds


def parts(spans: list[Span]) -> Iterator[Stretch]:
    """The run's wall time cut into parts without gap or overlap, in order.

    Within a span of steps, those that count come first, then their wait for data, then those that
    are lost; where clocks of hosts overlap, the earlier attempt has the time.
    """
    now = spans[0].begin
    for span, share in zip(spans, counting(spans), strict=True):
        if span.begin > now:
            yield Stretch("down", now, span.begin)
            now = span.begin
        end = max(now, span.end)
        cuts = ((span.phase, end),)
        if span.phase == "step":
            kept = share * (end - now)
            waited = min(share * span.data_wait, kept)
            cuts = (("steps", now + kept - waited), ("data_wait", now + kept), ("lost", end))
        for kind, until in cuts:
            if until > now:
                yield Stretch(kind, now, until)
                now = until
        now = end


def counting(spans: list[Span]) -> list[float]:
    """Of each span, the share of its steps that a later attempt, or a rollback, did not repeat."""
    shares = [1.0] * len(spans)
    repeated_from = math.inf
    for index in reversed(range(len(spans))):
        span = spans[index]
        if steps := span.steps:
            shares[index] = min(max(repeated_from - steps.start, 0), len(steps)) / len(steps)
            repeated_from = min(repeated_from, steps.start)
        elif span.phase == "step" and repeated_from < math.inf:
            # If an attempt ended in it, the step under way was never finished.
            shares[index] = float(spans[index + 1].attempt == span.attempt)
    return shares


def attempts(spans: list[Span]) -> list[Attempt]:
    """The starts of the run, in order."""
    starts = []
    for number in sorted({span.attempt for span in spans}):
        own = [span for span in spans if span.attempt == number]
        steps = [span.steps for span in own if span.steps]
        ended = next((span.ended for span in own if span.ended), None)
        starts.append(
            Attempt(
                number=number,
                begin=own[0].begin,
                end=own[-1].end,
                first_step=steps[0][0] if steps else None,
                last_step=steps[-1][-1] if steps else None,
                ended=ended or f"no last word, in {own[-1].phase}",
                rollbacks=[
                    after.start - 1
                    for before, after in itertools.pairwise(steps)
                    if after.start < before.stop
                ],
            )
        )
    return starts
