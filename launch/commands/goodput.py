"""The command `meshloom goodput`: where the wall time of a run went, as a table and a picture."""

import json
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from data.errors import UserError
from launch.process.typed import near
from launch.run.goodput import KINDS, Attempt, attempts, totals
from launch.run.saved import open_run
from launch.run.timeline import read
from launch.schema.command_line import parse

INDENT = " " * 6
"""Of what an attempt ended with, where it does not fit in its line."""


@dataclass(frozen=True, kw_only=True)
class GoodputOptions:
    """Where the wall time of a run went over all its starts; draws goodput.png."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    json: bool = False
    """Print JSON instead of a table, and draw nothing."""


def main(arguments: list[str]) -> None:
    """Print where the time went, and draw it into the run directory."""
    options = parse(GoodputOptions, arguments, prog="meshloom goodput")
    run = open_run(options.run).directory
    spans = read(run.timeline) if run.timeline.is_file() else []
    if not spans:
        raise UserError(
            f"run={options.run} must have a {run.timeline.name}, because the time is read from it; "
            "try a run that has been started by this version"
        )
    seconds, starts = totals(spans), attempts(spans)
    if options.json:
        wall = sum(seconds.values())
        share = seconds["steps"] / max(wall, 1e-9)
        listed = [attempt._asdict() for attempt in starts]
        print(json.dumps({"goodput": share, "wall": wall, "seconds": seconds, "attempts": listed}))
        return
    print("\n".join(table(seconds, starts)))
    import launch.run.timeline_picture

    picture = run.path / "goodput.png"
    launch.run.timeline_picture.draw(run.path.name, spans, picture)
    print(f"\npicture: {near(picture)}")


def table(seconds: dict[str, float], starts: list[Attempt]) -> list[str]:
    """What `meshloom goodput` prints, at most 80 columns wide."""
    wall = max(sum(seconds.values()), 1e-9)
    lines = [f"goodput {seconds['steps'] / wall:.1%} of {lasted(wall)}", ""]
    for kind, (meaning, _) in KINDS.items():
        if seconds[kind] > 0:
            lines.append(f"  {meaning:<42}{lasted(seconds[kind]):>10}{seconds[kind] / wall:>8.1%}")
    lines += ["", f"  {'start':<21}{'lasted':>9}   {'steps':<15}{'ended'}"]
    for attempt in starts:
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
