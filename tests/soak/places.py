"""Faults of disks and networks: damaged, full, frozen, cut. Most need root."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.soak.job import (
    EVERY,
    FLAGS,
    PRESET,
    STEPS,
    Layout,
    SoakJob,
    began_at,
    difference,
    different_arrays,
    newest_checkpoint,
    newest_step,
)
from tests.soak.run import Outcome, finish, start, straight


def damage(how: str) -> Callable[[Path, random.Random], Outcome]:
    """Every file of the newest checkpoint in turn: noticed, set aside, the one before is used."""

    def do(folder: Path, chance: random.Random) -> Outcome:
        layout = Layout(1)
        reference = straight(layout)[0]
        newest = reference / "checkpoints" / str(STEPS)
        files = sorted(p for p in newest.rglob("*") if p.is_file())
        victim = chance.choice(files).relative_to(reference)
        run = Path(shutil.copytree(reference, folder / "run"))
        path = run / victim
        content = bytearray(path.read_bytes())
        if how == "deleted":
            path.unlink()
        elif how == "truncated":
            path.write_bytes(content[: chance.randrange(max(len(content), 1))])
        elif content:
            place = chance.randrange(len(content))
            content[place] ^= 1 << chance.randrange(8)
            path.write_bytes(content)
        output = folder / "output.txt"
        code = start(layout, run, output).wait()
        wrong = f"ended with {code}" if code else difference(run, reference)
        begun = began_at(output.read_text())
        if not wrong and content and begun != STEPS - EVERY:
            wrong = f"went on from step {begun}"
        return {"wrong": wrong, "file": str(victim.name)}

    return do


def disk_full(folder: Path, chance: random.Random) -> Outcome:
    """A small disk fills during a save: a clear error, and the run continues once there is room."""
    layout = Layout(1)
    reference = straight(layout)[0]
    with small_disk(folder) as disk:
        run, output = disk / "run", folder / "output.txt"
        job = start(layout, run, output)
        step = chance.randrange(EVERY, 3 * EVERY)
        job.until(lambda: newest_step(run) >= step)
        fill(disk)
        code = job.wait()
        (disk / "filler").unlink()
        wrong = "" if code == 1 and "must have room" in job.said() else f"ended with {code}"
        code = 0 if wrong else start(layout, run, output).wait()
        # Records that did not fit are lost with the disk, and said so; the state is not.
        wrong = wrong or (f"resume ended with {code}" if code else different_arrays(run, reference))
        return {"wrong": wrong, "at_step": step}


def records_full(folder: Path, chance: random.Random) -> Outcome:
    """No room for records: the run continues, says so once, and saves at its end."""
    layout = Layout(1)
    reference = straight(layout)[0]
    with small_disk(folder) as disk:
        run, output = disk / "run", folder / "output.txt"
        job = start(layout, run, output, "--train.checkpoint.every-steps", "1000", "--tensorboard")
        job.until(lambda: newest_step(run) >= chance.randrange(1, 10))
        fill(disk)
        reached = newest_step(run)
        job.until(lambda: "JsonlWriter failed" in job.said())
        (disk / "filler").unlink()
        code, said = job.wait(), job.said()
        wrong = f"ended with {code}" if code else different_arrays(run, reference)
        named = [said.count(f"{w}Writer failed and is dropped") for w in ("Jsonl", "TensorBoard")]
        if not wrong and named != [1, 1]:
            wrong = f"the lost records were named {named} times"
        return {"wrong": wrong, "at_step": reached}


def save_stuck(folder: Path, chance: random.Random) -> Outcome:
    """The disk freezes in the middle of a save: the watchdog ends the run, which then resumes."""
    layout = Layout(1)
    straight(layout)
    with image_disk(folder) as disk:
        run, output = disk / "run", folder / "output.txt"
        limit = ["--train.watchdog.phase-minutes", "0.1"]
        job = start(layout, run, output, *limit)
        step = chance.randrange(EVERY, 4 * EVERY)
        job.until(lambda: newest_step(run) >= step)
        subprocess.run(["fsfreeze", "-f", disk], check=True)
        began = time.monotonic()
        try:
            # Who waits for a frozen disk cannot even be killed before it thaws.
            job.until(lambda: "hung:" in job.said())
        finally:
            subprocess.run(["fsfreeze", "-u", disk], check=True)
        seconds, code = time.monotonic() - began, job.wait()
        wrong = "" if code == 76 else f"ended with {code}"
        return {"wrong": wrong or finish(layout, run, output), "seconds": round(seconds, 1)}


def token_disk_stops(folder: Path, chance: random.Random) -> Outcome:
    """The disk of the tokens answers no more: the watchdog ends the run, which then resumes."""
    layout = Layout(1)
    straight(layout)
    limit = ["--train.watchdog.phase-minutes", "0.3"]
    with image_disk(folder) as disk:
        run, output = folder / "run", folder / "output.txt"
        job = start(layout, run, output, *limit, "--data.cache-dir", str(disk / "cache"))
        step = chance.randrange(1, STEPS - 10)
        job.until(lambda: newest_step(run) >= step)
        began = time.monotonic()
        with no_reads(disk, job):
            job.until(lambda: "hung:" in job.said())
            seconds = time.monotonic() - began
        code = job.wait()
        stacks = job.said().partition("hung:")[2]
        wrong = "" if code == 76 else f"ended with {code}"
        if not wrong and "data/stream.py" not in stacks:
            wrong = "the stacks were not printed"
        return {"wrong": wrong or finish(layout, run, output), "seconds": round(seconds, 1)}


@contextlib.contextmanager
def no_reads(disk: Path, job: SoakJob) -> Iterator[None]:
    """Within, the job reads next to nothing from this disk: a byte a second."""
    place = os.stat(disk).st_dev
    group = Path("/sys/fs/cgroup/blkio") / f"soak{os.getpid()}"
    limit = group / "blkio.throttle.read_bps_device"
    group.mkdir()
    try:
        limit.write_text(f"{os.major(place)}:{os.minor(place)} 1")
        for process in job.tree():
            (group / "cgroup.procs").write_text(str(process.pid))
        Path("/proc/sys/vm/drop_caches").write_text("3")
        yield
    finally:
        limit.write_text(f"{os.major(place)}:{os.minor(place)} 0")
        job.wait()
        group.rmdir()


def network_cut(folder: Path, chance: random.Random) -> Outcome:
    """Two hosts (network namespaces) lose each other: both end, and go on when it is back."""
    layout = Layout(2)
    reference = straight(layout)[0]
    run, output = folder / "run", folder / "output.txt"
    with two_hosts() as hosts:
        jobs = [start_on(host, index, run, output) for index, host in enumerate(hosts)]
        step = chance.randrange(2, STEPS - 10)
        jobs[0].until(lambda: newest_step(run) >= step)
        began = time.monotonic()
        subprocess.run(["ip", "-n", hosts[0], "link", "set", "wire0", "down"], check=True)
        codes = [job.wait() for job in jobs]
        down = time.monotonic() - began
        subprocess.run(["ip", "-n", hosts[0], "link", "set", "wire0", "up"], check=True)
        if 0 in codes:
            return {"wrong": f"ended with {codes}"}
        stood = newest_checkpoint(run)
        jobs = [start_on(host, index, run, output) for index, host in enumerate(hosts)]
        codes = [job.wait() for job in jobs]
        wrong = f"ended with {codes}" if any(codes) else difference(run, reference)
        begun = began_at(output.with_suffix(".0.txt").read_text(errors="replace"))
        if not wrong and begun != stood:
            wrong = f"went on from step {begun}, though {stood} stood"
        return {"wrong": wrong, "down_seconds": round(down, 1), "at_step": step}


def start_on(host: str, index: int, run: Path, output: Path) -> SoakJob:
    """Process `index` of two, on a host of its own."""
    resume = (run / "config.yaml").exists()
    words = ["--run-dir", str(run), "--resume"] if resume else [PRESET, "--run-dir", str(run)]
    settings = ["--distributed.coordinator", "10.77.0.1:8476", "--distributed.num-processes", "2"]
    settings += ["--distributed.process-id", str(index), "--distributed.start", "explicit"]
    command = [*Layout(1).command("train", *words, *FLAGS, *settings)]
    return SoakJob(["ip", "netns", "exec", host, *command], output.with_suffix(f".{index}.txt"))


@contextlib.contextmanager
def two_hosts() -> Iterator[list[str]]:
    """Two network namespaces joined by a wire, each of which knows its own name by its address."""
    hosts = [f"soak{os.getpid()}-{index}" for index in range(2)]
    names = [Path("/etc/netns") / host for host in hosts]
    try:
        for index, (host, folder) in enumerate(zip(hosts, names, strict=True)):
            folder.mkdir(parents=True)
            address = f"10.77.0.{index + 1}"
            (folder / "hosts").write_text(
                f"127.0.0.1 localhost\n{address} {socket.gethostname()}\n"
            )
            ip(f"netns add {host}")
        ip(f"link add wire0 netns {hosts[0]} type veth peer name wire1 netns {hosts[1]}")
        for index, host in enumerate(hosts):
            ip(f"-n {host} addr add 10.77.0.{index + 1}/24 dev wire{index}")
            ip(f"-n {host} link set wire{index} up")
            ip(f"-n {host} link set lo up")
        yield hosts
    finally:
        for host, folder in zip(hosts, names, strict=True):
            subprocess.run(["ip", "netns", "del", host], check=False)
            shutil.rmtree(folder, ignore_errors=True)


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


@contextlib.contextmanager
def image_disk(folder: Path) -> Iterator[Path]:
    disk, image = folder / "disk", folder / "image"
    disk.mkdir()
    subprocess.run(["truncate", "-s", "100M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "soak", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**12))
