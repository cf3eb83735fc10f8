"""The page that says why a job was given up."""

import shlex
import time
from collections.abc import Sequence

from launch.cluster.failure import Failure

ATTEMPTS = 10
SUMMARY = 8  # last lines of the process that are shown on the terminal


def page(failures: Sequence[Failure], why: str, resume: Sequence[str], lines: int) -> str:
    """The last failure in full with `lines` last lines of its process, the others as a list."""
    last = failures[-1]
    text = [
        f"Given up: {why}.",
        "",
        f"failed first  {last.reason()}",
        f"              {_place(last)}",
        f"when          {_clock(last.time)}, {last.seconds:.0f} s after its start",
        *_doing(last),
    ]
    if last.others:
        text += ["the others    " + "\n              ".join(last.others)]
    said = last.last_lines[-lines:]
    text += [f"it said last{'' if said else ' nothing'}{_log(last)}:", *(f"  {s}" for s in said)]
    first = max(0, len(failures) - ATTEMPTS)
    text += ["", "attempts" + (f" (the last {ATTEMPTS})" if first else "")]
    for number, failure in list(enumerate(failures, 1))[first:]:
        text.append(f"  {number}  {_clock(failure.time)}  {failure.reason()}")
    return "\n".join([*text, "", f"to continue: {shlex.join(resume)}", ""])


def _place(failure: Failure) -> str:
    of = f"one of {failure.processes} processes, " if failure.processes > 1 else ""
    host = failure.heartbeat.get("host")
    return f"{of}pid {failure.pid}" + (f", on {host}" if host else "")


def _doing(failure: Failure) -> list[str]:
    beat = failure.heartbeat
    if not beat:
        return ["doing         not known: it gave no heartbeat"]
    since = max(0.0, failure.time - beat["phase_since"])
    step = "no step was finished" if failure.step is None else f"step {failure.step} was finished"
    return [f"doing         {beat['phase']}, for {since:.0f} s; {step}"]


def _log(failure: Failure) -> str:
    return f" ({failure.log})" if failure.log else ""


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
