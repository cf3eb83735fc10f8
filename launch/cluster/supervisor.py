"""Watches the processes of a job and decides: end them, start them again, or give up.

It knows no command line and no machine; what is `Supervised` starts the processes and knows how far
they are.
"""

import contextlib
import queue
import signal
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from launch.cluster.failure import Failure, first_failure
from launch.cluster.gang import Events, Gang, Member
from launch.exit_codes import DONE, REFUSED, STOPPED, USAGE
from launch.process.interrupt import SAME

TICK = 0.25
GRACE = 2.0  # seconds the others get to print their errors once one has failed
SAVING = 10.0  # the same when one was stopped by a signal: the others save too
FINISHING = 60.0  # the same when one is done: another may still draw the loss curve
LONGEST_PAUSE = 300.0


class Supervised(Protocol):
    """What is supervised."""

    def start(self, attempt: int) -> Gang:
        """Start all processes; `attempt` counts from 1."""
        ...

    def look(self, gang: Gang) -> None:
        """Called a few times a second while they run."""

    def saved_step(self) -> int | None:
        """The newest checkpoint; None if there is none."""

    def shrink(self, failure: Failure) -> bool:
        """Continue without the place of the process that failed, if that is wanted and possible."""
        ...

    def stopped(self) -> None:
        """Print how to continue, after a signal to us has ended it."""

    def give_up(self, failures: Sequence[Failure], why: str) -> None:
        """Print why the job ends."""


class Patience(NamedTuple):
    """Seconds that are waited before the processes are killed."""

    start: float
    """For the first heartbeat."""
    early: float
    """For the others, when one has ended with 0 before it was at its end."""
    stop: float
    """For all, after a signal was passed on to them."""


TRAINING = Patience(start=300.0, early=5.0, stop=float("inf"))
ONCE = Patience(start=float("inf"), early=float("inf"), stop=10.0)
"""For commands that give no heartbeat and need not end together."""


def supervise(
    job: Supervised,
    events: Events,
    say: Callable[[str], None],
    *,
    restarts: int,
    patience: Patience,
) -> int:
    """Run the job to its end and return its exit code.

    0 when all processes end with 0; 75 when a signal that reached us (as a number in `events`)
    stopped them and none failed meanwhile; 1 or 2 when the first to end refused; else the code of
    the last failure, when `restarts` restarts in a row made no progress.
    """
    best_saved = best_reached = job.saved_step() or 0
    attempt, fruitless = 1, 0
    failures: list[Failure] = []
    while True:
        with contextlib.closing(job.start(attempt)) as gang:
            failure, signals = watch(gang, events, patience, job.look)
        if failure is None:
            return DONE
        if failure.code in (REFUSED, USAGE):
            if lines := failure.last_lines if failure.number else gang.complaints.dropped():
                say("\n".join([f"{failure.reason()}:", *lines]))
            return failure.code
        if signals:
            code = STOPPED if failure.code == 128 + signals[0] else failure.code
            if len(signals) > 1:
                code = 128 + signals[1]
            elif code != STOPPED:
                say(failure.reason())
            job.stopped()
            return code
        saved = job.saved_step() or 0
        if saved > (failure.step or 0):  # newer than the last heartbeat
            failure = failure._replace(heartbeat={**failure.heartbeat, "step": saved})
        failures.append(failure)
        further = saved > best_saved or failure.reached > best_reached
        again = fruitless > 0 and failures[-2].number == failure.number and not further
        fruitless = 1 if further else fruitless + 1
        best_saved = max(best_saved, saved)
        best_reached = max(best_reached, saved, failure.reached)
        if (again or failure.silent) and job.shrink(failure):
            fruitless = 0
        if fruitless > restarts:
            why = f"{fruitless} failures in a row, and none came beyond step {best_reached}"
            job.give_up(failures, why)
            return failure.code
        attempt += 1
        # None at first, then twice as long each time.
        pause = 0.0 if fruitless <= 1 else min(LONGEST_PAUSE, 2.0 ** (fruitless - 1))
        step = job.saved_step()
        place = f"from step {step}" if step is not None else "from the start"
        when = f" in {pause:.0f} s" if pause else ""
        took = f"after {failure.seconds:.0f} s"
        say(f"{failure.reason()}, {took}; attempt {attempt} {place}{when}")
        if number := _sleep(pause, events):
            say(f"stopped by {signal.Signals(number).name} before attempt {attempt}")
            job.stopped()
            return STOPPED


def watch(
    gang: Gang, events: Events, patience: Patience, look: Callable[[Gang], None] = lambda gang: None
) -> tuple[Failure | None, list[int]]:
    """Wait until every process has ended; once one has failed, end the others.

    Returns the failure and the signals that reached us; with one or more the job is to end. The
    first signal is passed on to every process, the second kills them, unless it comes so soon
    that it is the same one, sent twice.
    """
    signals: list[int] = []
    signaled_at = float("-inf")
    hung: tuple[Member, str] | None = None
    deadline = float("inf")
    before = time.monotonic()
    while gang.running():
        event = _next(events, TICK)
        now = time.monotonic()
        if isinstance(event, int) and now - signaled_at >= SAME:
            signaled_at = now
            signals.append(event)
            gang.signal(event)
            deadline = min(deadline, now + (patience.stop if len(signals) == 1 else 0))
        elif isinstance(event, Member) and event in gang.members:
            event.pulse.look(now)
            deadline = min(deadline, now + _grace(event, patience, bool(signals)))
            if event.number and event.code and not signals:
                gang.complaints.mute()
        for member in gang.running():
            member.pulse.look(now)
            if now - before > 10 * TICK:
                member.pulse.forgive(now - before)
            trouble = member.pulse.trouble(now, patience.start)
            if trouble is not None and deadline > now:
                hung, deadline = hung or (member, trouble), now
                gang.complaints.mute()
        if now >= deadline:
            gang.kill()
        look(gang)
        gang.complaints.show()
        before = now
    for member in gang.members:
        member.pulse.look(time.monotonic())
    return first_failure(gang.members, hung), signals


def _grace(member: Member, patience: Patience, stopping: bool) -> float:
    """Seconds the others may run on after one has ended."""
    if member.code == STOPPED or stopping:
        return SAVING
    if member.code != DONE:
        return GRACE
    return FINISHING if member.is_done() else patience.early


def _next(events: Events, seconds: float) -> "Member | int | None":
    try:
        return events.get(timeout=seconds)
    except queue.Empty:
        return None


def _sleep(seconds: float, events: Events) -> int | None:
    """Wait; the number of a signal that came meanwhile."""
    end = time.monotonic() + seconds
    while True:
        event = _next(events, max(0.0, end - time.monotonic()))
        if event is None or isinstance(event, int):
            return event
