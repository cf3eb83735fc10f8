"""The share of a run's wall time, over all its starts, in which it trained."""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

from launch.run.timeline import Span


class TimeKind(NamedTuple):
    """What a second of a run is counted as: in the table, and in the picture."""

    meaning: str
    color: str


KINDS = {
    "steps": TimeKind("steps that count", "#1f5fa8"),
    "data_wait": TimeKind("those steps waited for data", "#8fb3d9"),
    "evaluate": TimeKind("evaluation", "#6a9f58"),
    "save": TimeKind("saves, while steps stood still", "#d9b44a"),
    "start": TimeKind("start: processes, devices, data", "#9aa3a8"),
    "compile": TimeKind("compiling", "#5b6770"),
    "restore": TimeKind("verifying and reading checkpoints", "#7d6b9e"),
    "profile": TimeKind("writing profiles", "#c08497"),
    "finish": TimeKind("finish: last save, picture, sample", "#c9ced1"),
    "lost": TimeKind("lost: steps that had to be repeated", "#d1495b"),
    "down": TimeKind("down: no process ran", "#f3d3d7"),
}


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
