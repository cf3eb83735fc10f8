"""The share of a run's wall time, over all its starts, in which it trained."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from launch.run.timeline import Span

KINDS = {
    "steps": "steps that count",
    "data_wait": "those steps waited for data",
    "evaluate": "evaluation",
    "save": "saves, as far as steps stood still",
    "start": "start: processes, devices, data",
    "compile": "compiling",
    "restore": "verifying and reading checkpoints",
    "profile": "writing profiles",
    "finish": "finish: last save, picture, sample",
    "lost": "lost: steps from which nothing went on",
    "down": "down: no process ran",
}
"""Every second of a run is of one of these kinds."""


class Part(NamedTuple):
    """A stretch of the run's wall time that is of one kind."""

    kind: str
    begin: float
    end: float


class Attempt(NamedTuple):
    """One start of the run."""

    number: int
    begin: float
    end: float
    first_step: int | None
    """The first step it made; None if it made none."""
    last_step: int | None
    ended: str
    """As it told itself, or the phase in which it was last seen."""
    rollbacks: list[int]
    """The steps it went back to."""


def totals(spans: list[Span]) -> dict[str, float]:
    """Seconds of each kind; they sum to the wall time from the first start to the last end."""
    seconds = dict.fromkeys(KINDS, 0.0)
    for kind, begin, end in parts(spans):
        seconds[kind] += end - begin
    return seconds


def parts(spans: list[Span]) -> Iterator[Part]:
    """The run's wall time cut into parts without gap or overlap, in order.

    Within a span of steps, those that count come first, then their wait for data, then those that
    are lost; where clocks of hosts overlap, the earlier attempt has the time.
    """
    now = spans[0].begin
    for span, share in zip(spans, counting(spans), strict=True):
        if span.begin > now:
            yield Part("down", now, span.begin)
            now = span.begin
        end = max(now, span.end)
        if span.phase == "step":
            kept = share * (end - now)
            waited = min(share * span.data_wait, kept)
            for kind, until in (
                ("steps", now + kept - waited),
                ("data_wait", now + kept),
                ("lost", end),
            ):
                if until > now:
                    yield Part(kind, now, until)
                    now = until
        elif end > now:
            yield Part(span.phase, now, end)
        now = end


def counting(spans: list[Span]) -> list[float]:
    """Of each span, the share of its steps that a later attempt, or a rollback, did not repeat."""
    shares = [1.0] * len(spans)
    repeated_from: int | None = None
    goes_on = False
    for index in reversed(range(len(spans))):
        span = spans[index]
        if span.phase != "step" or span.first_step is None or span.last_step is None:
            continue
        made = span.last_step - span.first_step + 1
        if made > 0:
            if repeated_from is not None:
                kept = min(max(repeated_from - span.first_step, 0), made)
                shares[index] = kept / made
            repeated_from = min(span.first_step, repeated_from or span.first_step)
            goes_on = True
        elif goes_on and spans[index + 1].attempt != span.attempt:
            # An attempt ended in it: the step under way was never finished.
            shares[index] = 0.0
    return shares


def attempts(spans: list[Span]) -> list[Attempt]:
    """The starts of the run, in order."""
    found = []
    for number in sorted({span.attempt for span in spans}):
        own = [span for span in spans if span.attempt == number]
        made = [s for s in own if s.phase == "step" and (s.last_step or 0) >= (s.first_step or 1)]
        ended = next((span.ended for span in own if span.ended), None)
        found.append(
            Attempt(
                number=number,
                begin=own[0].begin,
                end=own[-1].end,
                first_step=made[0].first_step if made else None,
                last_step=made[-1].last_step if made else None,
                ended=ended or f"no last word, in {own[-1].phase}",
                rollbacks=[
                    (span.first_step or 1) - 1
                    for before, span in itertools.pairwise(made)
                    if (span.first_step or 1) <= (before.last_step or 0)
                ],
            )
        )
    return found
