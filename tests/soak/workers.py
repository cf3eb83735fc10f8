"""The thread that reads data stops for good, as one does that waits for a disk which is gone."""

import contextlib
import ctypes
import os
import random
import time
from pathlib import Path

from tests.soak.job import STEPS, Layout, newest_step
from tests.soak.run import Outcome, finish, start, straight

SEIZE, INTERRUPT, CONTINUE, ALL_KINDS = 0x4206, 0x4207, 7, 0x40000000  # of ptrace and waitpid
LIMIT = 20.0  # seconds
GOES_ON = 5.0  # seconds within which a timeline is written anew, several times


def reader_stopped(folder: Path, chance: random.Random) -> Outcome:
    """The watchdog ends the run, with the stacks of all threads, and it resumes exactly."""
    layout = Layout(1)
    straight(layout)
    run, output, thread_file = folder / "run", folder / "output.txt", folder / "thread"
    limit = ["--train.watchdog.phase-minutes", str(LIMIT / 60)]
    job = start(layout, run, output, *limit, MESHLOOM_SOAK_READER=str(thread_file))
    step = chance.randrange(0, STEPS - 5)
    if not job.until(lambda: thread_file.exists() and newest_step(run) >= step):
        return {"wrong": f"ended before step {step}, see {output}"}
    thread = int(thread_file.read_text())
    stop(thread, run / "timeline.jsonl")
    began = time.monotonic()
    job.until(lambda: has_ended(thread) or time.monotonic() - began > 4 * LIMIT)
    seconds = time.monotonic() - began
    if seconds > 4 * LIMIT:
        job.kill_all()
        return {"wrong": f"the watchdog did not end it within {seconds:.0f} s"}
    code, said = job.wait(), job.said()
    wrong = "" if code == 76 else f"ended with {code}"
    stacks = said.partition("the wait for data, for")[2].partition("stacks of all threads:")[2]
    if not wrong and ("train/feed.py" not in stacks or "train/loop.py" not in stacks):
        wrong = "the stacks were not printed"
    wrong = wrong or finish(layout, run, output)
    return {"wrong": wrong, "at_step": step, "seconds": round(seconds, 1)}


def stop(thread: int, timeline: Path) -> None:
    """Stop one thread of another process; it stays so until it is killed.

    Elsewhere than where it holds Python's lock, which would stop all of the process: the others
    write the timeline on.
    """
    ptrace(SEIZE, thread)
    while True:
        ptrace(INTERRUPT, thread)
        os.waitpid(thread, ALL_KINDS)
        written, until = {timeline.stat().st_mtime_ns}, time.monotonic() + GOES_ON
        while time.monotonic() < until:
            written.add(timeline.stat().st_mtime_ns)
            if len(written) > 2:  # the first may have been under way
                return
            time.sleep(0.01)
        ptrace(CONTINUE, thread)
        time.sleep(0.01)


def ptrace(request: int, thread: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(request, thread, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")


def has_ended(thread: int) -> bool:
    """Whether a stopped thread was killed; its process is not gone before somebody has asked."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(thread, ALL_KINDS | os.WNOHANG)[0] == thread
    return True
