"""Which process of an attempt failed first, and how, in words and in the job's exit code."""

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
    def is_refusal(self) -> bool:
        return self.code in (REFUSED, USAGE)

    @property
    def step(self) -> int | None:
        return self.heartbeat.get("step")

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
    own = sorted((m for m in members if not m.killed), key=lambda m: m.ended or 0.0)
    for member in own:
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
    others = [_other(member, first, now) for member in members if member is not first]
    return Failure(
        number=first.number,
        processes=len(members),
        code=code,
        how=how,
        silent=first.pulse.last is None and first.killed,
        heartbeat=first.pulse.last or {},
        reached=max((m.pulse.last or {}).get("step") or 0 for m in members),
        pid=first.process.pid,
        seconds=now - first.started,
        time=time.time() - (time.monotonic() - now),
        last_lines=first.output.last_lines(LINES),
        log=near(first.log) if first.log else None,
        others=others,
    )


def _other(member: Member, first: Member, failed: float) -> str:
    step = (member.pulse.last or {}).get("step")
    at = f" at step {step}" if step is not None else ""
    code = member.code or 0
    if member.killed:
        return f"process {member.number} still ran{at} and was killed"
    later = (member.ended or failed) - failed
    when = f"{later:.1f} s later" if later >= 0 else f"{-later:.1f} s before"
    return f"process {member.number} {ended(code)}{at}, {when}"
