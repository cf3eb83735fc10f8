"""Power cuts: a file system that forgives nothing loses all that was never flushed. Needs root."""

import contextlib
import ctypes
import fcntl
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.soak.job import FLAGS, Job, Layout, different_arrays, losses
from tests.soak.run import Outcome, straight

# Data reach the disk after the names that tell of them, or not at all.
MEAN = "loop,data=writeback,noauto_da_alloc,delalloc"
COMMITS = (1, 300)
"""Seconds between commits of the journal: names go to the disk early, or only when flushed."""
SHUTDOWN = 0x8004587D
"""The ioctl of ext4 after which nothing more reaches the disk (EXT4_IOC_SHUTDOWN)."""
NO_LAST_FLUSH = ctypes.c_uint32(2)


def power_cut(folder: Path, chance: random.Random) -> Outcome:
    """The power goes at one or two random instants; what was flushed must do to go on exactly.

    What a file system writes in its own time is lost, but for the first of two cuts: that stands
    for hours of the run.
    """
    layout = Layout(chance.choice((1, 2)))
    reference, seconds = straight(layout)
    expected = losses(reference)
    image, output = folder / "image", folder / "output.txt"
    subprocess.run(["truncate", "-s", "100M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    lost, begun, kept, wrong = 0, 0, dict[int, float](), ""
    cuts = chance.choice((1, 2))
    for number in range(cuts):
        instant = chance.uniform(0, seconds)
        with mounted(image, folder / "disk", chance.choice(COMMITS)) as disk:
            run = disk / "run"
            job = go_on(layout, run, output)
            while job.running() and time.monotonic() - job.began < instant:
                time.sleep(0.002)
            stopped = stop_all(job)
            stood = standing(run)
            reached = max(losses(run), default=0)
            if number + 1 < cuts:
                # All so far had long been on the disk when the power went.
                subprocess.run(["sync", "--file-system", disk], check=True)
            cut(disk)
            job.kill_all()
            psutil.wait_procs(stopped, timeout=30)
        with mounted(image, folder / "disk", 1) as disk:
            left = losses(disk / "run")
            wrong = wrong or missing(kept, left, begun)
            kept = left
            begun = max(standing(disk / "run"), default=0)
        lost = max(lost, reached - begun)
        if begun < max((step for step, age in stood.items() if age > 1), default=0):
            wrong = wrong or f"went back to step {begun}, though {stood} (with ages) stood"
    with mounted(image, folder / "disk", 1) as disk:
        run = disk / "run"
        code = go_on(layout, run, output).wait()
        wrong = wrong or (f"resume ended with {code}" if code else different_arrays(run, reference))
        said = re.findall(r"going on from step (\d+)", output.read_text(errors="replace"))
        if not wrong and begun and begun != int(said[-1]):
            wrong = f"went on from step {said[-1]}, though {begun} stood"
        found = losses(run)
        wrong = wrong or missing(kept, found, begun)
        # Records are not flushed: those of steps before the last cut may be gone with the power.
        if not wrong and found != {s: expected[s] for s in expected if s > begun or s in found}:
            wrong = "losses differ, or steps after the cut are missing"
    return {"wrong": wrong, "lost": lost}


def go_on(layout: Layout, run: Path, output: Path) -> Job:
    """Begin the run or go on with it: the same words each time, as a cluster says them."""
    words = ["train", "tiny", "--run-dir", str(run), "--resume-or-start", *FLAGS]
    return Job(layout.command(*words), output)


def missing(kept: dict[int, float], found: dict[int, float], begun: int) -> str:
    """Whether records up to a step gone on from, which a cut had left, are no longer there."""
    gone = [step for step in kept if step <= begun and step not in found]
    return f"records of {len(gone)} steps were lost by going on" if gone else ""


def standing(run: Path) -> dict[int, float]:
    """Steps that are called checkpoints, and the seconds since each was."""
    found = {}
    for path in (run / "checkpoints").glob("*"):
        if path.name.isdecimal():
            with contextlib.suppress(FileNotFoundError):
                found[int(path.name)] = round(time.time() - path.stat().st_ctime, 2)
    return found


def stop_all(job: Job) -> list[psutil.Process]:
    """Stop every process of the job, so that none sees what no machine without power sees."""
    processes = job.tree()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGSTOP)
    return processes


def cut(disk: Path) -> None:
    handle = os.open(disk, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, SHUTDOWN, bytes(NO_LAST_FLUSH))
    finally:
        os.close(handle)


@contextlib.contextmanager
def mounted(image: Path, disk: Path, commit: int) -> Iterator[Path]:
    """The image as a file system; its journal is read again, as after a cut."""
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", f"{MEAN},commit={commit}", image, disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)
