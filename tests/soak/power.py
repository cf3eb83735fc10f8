"""Power cuts: a file system that forgives nothing loses all that was never flushed. Needs root."""

import contextlib
import ctypes
import fcntl
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.soak.job import (
    FLAGS,
    PRESET,
    STEPS,
    Layout,
    SoakJob,
    began_at,
    different_arrays,
    losses,
    newest_step,
)
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
    reference = straight(layout)[0]
    output, disk = folder / "output.txt", Disk(folder)
    run = disk.path / "run"
    lost, begun, reached, kept, wrong = 0, 0, 0, dict[int, float](), ""
    cuts = chance.choice((1, 2))
    for number in range(cuts):
        with disk.mounted(chance.choice(COMMITS)):
            job = resume(layout, run, output)
            step = chance.randint(begun, STEPS)
            job.until(lambda step=step: newest_step(run) >= step)
            # Half a second holds a whole save. Before the first step, start-up is longer.
            pause = time.monotonic() + chance.uniform(0, 0.5 if step else 5)
            job.until(lambda pause=pause: time.monotonic() > pause)
            if not job.running() and (code := job.wait()):
                wrong = wrong or f"ended with {code} before the power did"
            stopped = stop_all(job)
            stood, reached = standing(run), newest_step(run)
            if number + 1 < cuts:
                subprocess.run(["sync", "--file-system", disk.path], check=True)
            disk.cut()
            job.kill_all()
            psutil.wait_procs(stopped, timeout=30)
        with disk.mounted(1):
            left = losses(run)
            wrong = wrong or missing(kept, left, begun)
            kept, begun = left, max(standing(run), default=0)
        lost = max(lost, reached - begun)
        if begun < max((step for step, age in stood.items() if age > 1), default=0):
            wrong = wrong or f"went back to step {begun}, though {stood} (with ages) stood"
    with disk.mounted(1):
        code = resume(layout, run, output).wait()
        wrong = wrong or (f"resume ended with {code}" if code else different_arrays(run, reference))
        if not wrong and begun and began_at(output.read_text(errors="replace")) != begun:
            wrong = f"did not go on from step {begun}, which stood"
        actual, expected = losses(run), losses(reference)
        wrong = wrong or missing(kept, actual, begun)
        # Records are not flushed: those of steps before the last cut may be gone with the power.
        if not wrong and actual != {s: expected[s] for s in expected if s > begun or s in actual}:
            wrong = "losses differ, or steps after the cut are missing"
    return {"wrong": wrong, "lost": lost, "cuts": cuts, "at_step": reached}


class Disk:
    """A small disk in `folder`, whose file system can lose its power."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "disk"
        self.path.mkdir()
        self._image, self._number = folder / "image", 0
        subprocess.run(["truncate", "-s", "64M", self._image], check=True)
        subprocess.run(["mkfs.ext4", "-q", self._image], check=True)

    @contextlib.contextmanager
    def mounted(self, commit: int) -> Iterator[None]:
        """Within, the disk is there; its journal is read again, as after a cut."""
        options = f"{MEAN},commit={commit}"
        subprocess.run(["mount", "-o", options, self._image, self.path], check=True)
        try:
            yield
        finally:
            # From here on a copy: others on this machine may hold what was mounted before.
            copy = self._image.with_name(f"image-{self._number}")
            subprocess.run(["umount", self.path], check=True)
            subprocess.run(["cp", "--sparse=always", self._image, copy], check=True)
            self._image, self._number = copy, self._number + 1

    def cut(self) -> None:
        """From here on nothing more reaches the disk."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, SHUTDOWN, bytes(NO_LAST_FLUSH))
        finally:
            os.close(handle)


def resume(layout: Layout, run: Path, output: Path) -> SoakJob:
    """Start the run or resume it: the same words each time, as a cluster says them."""
    words = ["train", PRESET, "--run-dir", str(run), "--resume-or-start", *FLAGS]
    return SoakJob(layout.command(*words), output)


def missing(kept: dict[int, float], actual: dict[int, float], begun: int) -> str:
    """Whether records up to a step gone on from, which a cut had left, are no longer there."""
    gone = [step for step in kept if step <= begun and step not in actual]
    return f"records of {len(gone)} steps were lost by going on" if gone else ""


def standing(run: Path) -> dict[int, float]:
    """Steps that are called checkpoints, and the seconds since each was."""
    actual = {}
    for path in (run / "checkpoints").glob("*"):
        if path.name.isdecimal():
            with contextlib.suppress(FileNotFoundError):
                actual[int(path.name)] = round(time.time() - path.stat().st_ctime, 2)
    return actual


def stop_all(job: SoakJob) -> list[psutil.Process]:
    """Stop every process of the job, so that none sees what no machine without power sees."""
    processes = job.tree()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGSTOP)
    return processes
