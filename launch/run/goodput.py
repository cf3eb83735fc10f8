"""The command `goodput`: the share of a run's wall time, over all its starts, that it trained."""

import itertools
import json
import textwrap
import time
from collections.abc import Iterator
from typing import NamedTuple

from data.errors import UserError
from launch.commands.options import GoodputOptions
from launch.run.directory import near
from launch.run.saved import open_run
from launch.run.timeline import Span, read

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

INDENT = " " * 6
"""Of what an attempt ended with, where it does not fit in its line."""


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


def goodput(options: GoodputOptions) -> None:
    """Print where the time went, and draw it into the run directory."""
    run = open_run(options.run).directory
    spans = read(run.timeline) if run.timeline.is_file() else []
    if not spans:
        raise UserError(
            f"run={options.run} must have a {run.timeline.name}, because the time is read from it; "
            "try a run that has been started by this version"
        )
    seconds, found = totals(spans), attempts(spans)
    wall = sum(seconds.values())
    if options.json:
        listed = [attempt._asdict() for attempt in found]
        share = seconds["steps"] / max(wall, 1e-9)
        print(json.dumps({"goodput": share, "wall": wall, "seconds": seconds, "attempts": listed}))
        return
    print("\n".join(table(seconds, found)))
    import launch.run.timeline_picture

    picture = run.path / "goodput.png"
    launch.run.timeline_picture.draw(run.path.name, spans, picture)
    print(f"\npicture: {near(picture)}")


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


def table(seconds: dict[str, float], found: list[Attempt]) -> list[str]:
    """What `meshloom goodput` prints, at most 80 columns wide."""
    wall = max(sum(seconds.values()), 1e-9)
    lines = [f"goodput {seconds['steps'] / wall:.1%} of {lasted(wall)}", ""]
    for kind, told in KINDS.items():
        if seconds[kind] > 0:
            lines.append(f"  {told:<42}{lasted(seconds[kind]):>10}{seconds[kind] / wall:>8.1%}")
    lines += ["", f"  {'start':<21}{'lasted':>9}   {'steps':<15}{'ended'}"]
    for attempt in found:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(attempt.begin))
        steps = "none"
        if attempt.first_step is not None:
            steps = f"{attempt.first_step:,}-{attempt.last_step:,}"
        ended, rest = attempt.ended, ""
        if len(ended) > 30:
            head, _, rest = ended.partition(": ")
            ended, rest = (head, rest) if rest and len(head) <= 30 else (ended[:29] + "…", ended)
        lines.append(f"  {when:<21}{lasted(attempt.end - attempt.begin):>9}   {steps:<15}{ended}")
        lines += textwrap.wrap(rest, 80, initial_indent=INDENT, subsequent_indent=INDENT)
        if back := attempt.rollbacks:
            times = f", {len(back)} rollbacks in all" if len(back) > 1 else ""
            lines.append(f"  {'':<33}rollback to step {back[-1]:,}{times}")
    return lines


def lasted(seconds: float) -> str:
    """A stretch of time as people write it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{int(seconds // 60)}:{int(seconds % 60):02} min"
    return f"{minutes // 60}:{minutes % 60:02} h"
