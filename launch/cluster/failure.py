"""Which process of an attempt failed first, and how: in words, in the job's exit code, and on the
page that says why the job was given up."""

import shlex
import signal
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from launch.cluster.gang import Member
from launch.exit_codes import HUNG, REFUSED, STOPPED, UNEXPECTED, USAGE
from launch.process.typed import near

WORDS = {
    REFUSED: "it refused, with a message",
    USAGE: "wrong usage",
    UNEXPECTED: "an unexpected exception",
    STOPPED: "saved and stopped, by a signal that did not come from here",
    HUNG: "its watchdog took it as hung",
}
LINES = 30
ATTEMPTS = 10
SUMMARY = 8  # last lines of the process that are shown on the terminal


class Failure(NamedTuple):
    """The first process of an attempt that failed, and what became of the others."""

    number: int
    processes: int
    code: int
    """Exit code the job would end with: the process's own, 128 + its signal, 70 or 76."""
    how: str
    """As in `process 2 WAS KILLED BY SIGKILL`."""
    silent: bool
    """Whether it never gave a heartbeat in all the time it had for that."""
    heartbeat: dict[str, Any]
    """Its last one; empty if it gave none."""
    reached: int
    """The newest step that any process reported."""
    pid: int
    seconds: float
    """From its start to its failure."""
    time: float
    """Unix time at which it was noticed."""
    last_lines: list[str]
    log: str | None
    others: list[str]
    """A line for each of the other processes."""

    @property
    def step(self) -> int | None:
        return self.heartbeat.get("step")

    @property
    def clock(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.time))

    def reason(self) -> str:
        """Who, how and where, as in `process 2 was killed by SIGKILL at step 37`."""
        who = f"process {self.number} " if self.processes > 1 else "the process "
        return who + self.how + (f" at step {self.step}" if self.step is not None else "")


def first_failure(members: Sequence[Member], hung: tuple[Member, str] | None) -> Failure | None:
    """What ended an attempt whose processes have all ended; None if every one ended with 0.

    `hung` is the process that stood still, and how that showed. Else it is the first that ended
    by itself with anything but 0, or with 0 while it was not at its end.
    """
    if hung is not None:
        return _failure(members, hung[0], hung[1], HUNG)
    if all(member.code == 0 for member in members):
        return None
    for member in sorted((m for m in members if not m.killed), key=lambda m: m.ended or 0.0):
        code = member.code or 0
        if code:
            return _failure(members, member, ended(code), 128 - code if code < 0 else code)
        if not member.is_done():
            how = "ended with 0 while others still worked"
            return _failure(members, member, how, UNEXPECTED)
    # All that ended by themselves were done; those that were not have been killed for it.
    late = next(member for member in members if member.killed)
    return _failure(members, late, "did not end when the others had", UNEXPECTED)


def ended(code: int) -> str:
    """An exit code, or minus a signal, in words."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"was killed by {name}"
    why = f" ({WORDS[code]})" if code in WORDS else ""
    return f"ended with {code}{why}"


def _failure(members: Sequence[Member], first: Member, how: str, code: int) -> Failure:
    now = first.ended if not first.killed and first.ended else time.monotonic()
    return Failure(
        number=first.number,
        processes=len(members),
        code=code,
        how=how,
        silent=not first.pulse.last and first.killed,
        heartbeat=first.pulse.last,
        reached=max(member.pulse.last.get("step") or 0 for member in members),
        pid=first.process.pid,
        seconds=now - first.started,
        time=time.time() - (time.monotonic() - now),
        last_lines=first.output.last_lines(LINES),
        log=near(first.log) if first.log else None,
        others=[_other(member, now) for member in members if member is not first],
    )


def _other(member: Member, failed: float) -> str:
    step = member.pulse.last.get("step")
    at = f" at step {step}" if step is not None else ""
    if member.killed:
        return f"process {member.number} still ran{at} and was killed"
    later = (member.ended or failed) - failed
    when = f"{later:.1f} s later" if later >= 0 else f"{-later:.1f} s before"
    return f"process {member.number} {ended(member.code or 0)}{at}, {when}"


def page(failures: Sequence[Failure], why: str, resume: Sequence[str], lines: int) -> str:
    """Why a job was given up: the last failure in full with `lines` last lines of its process, the
    others as a list."""
    last, beat = failures[-1], failures[-1].heartbeat
    place = f"one of {last.processes} processes, " if last.processes > 1 else ""
    place += f"pid {last.pid}" + (f", on {beat['host']}" if beat.get("host") else "")
    doing = "not known: it gave no heartbeat"
    if beat:
        since = max(0.0, last.time - beat["phase_since"])
        step = "no step" if last.step is None else f"step {last.step}"
        doing = f"{beat['phase']}, for {since:.0f} s; {step} was finished"
    said = last.last_lines[-lines:]
    log = f" ({last.log})" if last.log else ""
    first = max(0, len(failures) - ATTEMPTS)
    text = [
        f"Given up: {why}.",
        "",
        f"failed first  {last.reason()}",
        f"              {place}",
        f"when          {last.clock}, {last.seconds:.0f} s after its start",
        f"doing         {doing}",
        *(["the others    " + "\n              ".join(last.others)] if last.others else []),
        f"it said last{'' if said else ' nothing'}{log}:",
        *(f"  {line}" for line in said),
        "",
        "attempts" + (f" (the last {ATTEMPTS})" if first else ""),
        *(f"  {n}  {f.clock}  {f.reason()}" for n, f in [*enumerate(failures, 1)][first:]),
        "",
        f"to continue: {shlex.join(resume)}",
        "",
    ]
    return "\n".join(text)
