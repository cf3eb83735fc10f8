"""The faults of the campaign: each does a real harm to a real job and tells what came of it."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.soak.job import (
    EVERY,
    FLAGS,
    ROOT,
    STEPS,
    Job,
    Layout,
    began_at,
    difference,
    different_arrays,
    losses,
    newest_step,
)

Outcome = dict[str, float | int | str]
"""`wrong`: what did not hold, empty if all did; beside it what was measured."""


class Fault(NamedTuple):
    tries: int
    do: Callable[[Path, random.Random], Outcome]
    """Called with an empty folder and the try's own random numbers."""
    holds: str
    """What must hold."""


def straight(layout: Layout) -> tuple[Path, float]:
    """A run that nobody disturbed, made once for this code, and the seconds it took."""
    name = f"straight-{layout.processes}x{layout.devices}-{code_digest()[:12]}"
    folder = ROOT / ".cache" / "soak" / name
    told = folder / "seconds.json"
    if not told.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("warm-up", "run"):
            job = start(layout, folder / name, folder / f"{name}.txt")
            if job.wait() != 0:
                raise RuntimeError(f"the undisturbed run failed; see {job.output}")
            seconds = time.monotonic() - job.began
        told.write_text(json.dumps(seconds))
    return folder / "run", json.loads(told.read_text())


def code_digest() -> str:
    """SHA-256 of all that a run's bits depend on here: our code and the flags of the campaign."""
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for room in ("model", "data", "train", "launch"):
        for path in sorted((ROOT / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def start(layout: Layout, run: Path, output: Path, *words: str, **variables: str) -> Job:
    """Begin a run, or go on with it if its directory is there already."""
    here = (run / "config.yaml").exists()
    first = ["--run-dir", str(run), "--resume"] if here else ["tiny", "--run-dir", str(run)]
    return Job(layout.command("train", *first, *FLAGS, *words), output, **variables)


def finish(layout: Layout, run: Path, output: Path) -> str:
    """Go on to the end and compare with the undisturbed run; empty if all is bit-equal."""
    code = start(layout, run, output).wait()
    if code != 0:
        return f"resume ended with {code}"
    return difference(run, straight(layout)[0])


def kill_all(processes: int) -> Callable[[Path, random.Random], Outcome]:
    def do(folder: Path, chance: random.Random) -> Outcome:
        layout = Layout(processes)
        run, output = folder / "run", folder / "output.txt"
        instant = chance.uniform(0, straight(layout)[1])
        job = start(layout, run, output)
        while job.running() and time.monotonic() - job.began < instant:
            time.sleep(0.002)
        job.kill_all()
        reached = newest_step(run)
        wrong = finish(layout, run, output)
        begun = began_at(output.read_text())
        lost = max(reached - begun, 0)
        # A save is written while training goes on: those steps can be lost besides.
        if not wrong and lost > 2 * EVERY:
            wrong = f"{lost} steps were lost"
        return {"wrong": wrong, "killed_at_step": reached, "lost": lost}

    return do


def one_of_four(how: str) -> Callable[[Path, random.Random], Outcome]:
    """One process of four fails; the launcher must bring all down and the run to its end."""

    def do(folder: Path, chance: random.Random) -> Outcome:
        layout = Layout(4)
        reference = straight(layout)[0]
        run, output, trigger = folder / "run", folder / "output.txt", folder / "trigger"
        job = start(layout, run, output, MESHLOOM_SOAK_TRIGGER=str(trigger))
        step, victim = chance.randrange(1, STEPS - 5), chance.randrange(4)
        if not job.until(lambda: newest_step(run) >= step):
            return {"wrong": f"ended before step {step}, see {output}"}
        before = job.trainers()
        if how in ("raise", "exit"):
            trigger.with_suffix(".new").write_text(f"{victim} {how}")
            os.replace(trigger.with_suffix(".new"), trigger)
        else:
            before[victim].send_signal(getattr(signal, how))
        began = time.monotonic()
        job.until(lambda: not any(p.is_running() and p.status() != "zombie" for p in before))
        down = time.monotonic() - began
        reached = newest_step(run)
        job.until(lambda: newest_step(run) > reached or not job.running())
        back = time.monotonic() - began
        code = job.wait()
        wrong = f"ended with {code}" if code else difference(run, reference)
        if not wrong and down > 15:
            wrong = f"down only after {down:.0f} s"
        return {"wrong": wrong, "down_seconds": round(down, 2), "back_seconds": round(back, 2)}

    return do


def sigterm(processes: int, whom: str, when: str) -> Callable[[Path, random.Random], Outcome]:
    """SIGTERM: the job saves, exits 75 within 10 s, and no step is lost."""

    def do(folder: Path, chance: random.Random) -> Outcome:
        layout = Layout(processes)
        straight(layout)
        run, output = folder / "run", folder / "output.txt"
        job = start(layout, run, output)
        step = chance.randrange(2, STEPS - 5)
        moments = {
            "step": lambda: newest_step(run) >= step,
            "save": lambda: any((run / "checkpoints").glob("*.saving")),
            "evaluation": lambda: newest_step(run) >= 10,
            "compile": lambda: "data:" in job.said(),
        }
        if not job.until(moments[when]):
            return {"wrong": f"the moment never came, see {output}"}
        if when == "compile":
            time.sleep(chance.uniform(0, 0.5))
        began = time.monotonic()
        if whom == "all":
            job.send(signal.SIGTERM)
        else:
            trainers = job.trainers()
            with contextlib.suppress(IndexError):
                chance.choice(trainers).send_signal(signal.SIGTERM)
        job.until(lambda: not job.running() or "stopping" in job.said())
        job.until(lambda: not job.running())
        seconds, code = time.monotonic() - began, job.wait()
        reached = newest_step(run)
        wrong = finish(layout, run, output)
        begun = began_at(output.read_text())
        expected = 0 if whom == "one" and processes > 1 else 75
        if not wrong and code != expected:
            wrong = f"ended with {code}"
        if not wrong and expected == 75 and (begun != reached or seconds > 10):
            wrong = f"went on from {begun} of {reached}, {seconds:.1f} s after the signal"
        return {"wrong": wrong, "seconds": round(seconds, 2), "at_step": reached}

    return do


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


def pause(folder: Path, chance: random.Random) -> Outcome:
    """One process of four stands still for 3 s: nothing happens."""
    layout = Layout(4)
    reference = straight(layout)[0]
    run, output = folder / "run", folder / "output.txt"
    job = start(layout, run, output)
    if not job.until(lambda: newest_step(run) >= 5):
        return {"wrong": f"ended before step 5, see {output}"}
    before = job.trainers()
    victim = before[chance.randrange(4)]
    victim.send_signal(signal.SIGSTOP)
    time.sleep(3)
    victim.send_signal(signal.SIGCONT)
    same = all(p.is_running() for p in before) and newest_step(run) < STEPS
    code = job.wait()
    wrong = f"ended with {code}" if code else difference(run, reference)
    if not wrong and (not same or "restart" in job.said()):
        wrong = "it was restarted"
    return {"wrong": wrong}


def disk_full(folder: Path, chance: random.Random) -> Outcome:
    """A small disk fills during a save: a clear error, and the run goes on once there is room."""
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


def sizes(folder: Path, chance: random.Random) -> Outcome:
    """4 -> 2 -> 1 -> 4 processes: each row once, losses within 2e-6 of one process."""
    reference = losses(straight(Layout(1))[0])
    run, output = folder / "run", folder / "output.txt"
    for number, processes in enumerate((4, 2, 1, 4)):
        last = number == 3
        job = start(Layout(processes), run, output)
        goal = EVERY * (number + 1) * 2 - chance.randrange(EVERY)
        if not last and job.until(lambda goal=goal: newest_step(run) >= goal):
            job.kill_all()
        elif (code := job.wait()) != 0:
            return {"wrong": f"{processes} processes ended with {code}"}
    found = losses(run)
    if found.keys() != reference.keys():
        return {"wrong": "steps are missing"}
    apart = max(abs(found[s] / reference[s] - 1) for s in reference)
    return {"wrong": "" if apart <= 2e-6 else f"losses differ by {apart:.1e}", "apart": apart}


def records_full(folder: Path, chance: random.Random) -> Outcome:
    """No room for records: the run goes on, says so once, and saves at its end."""
    layout = Layout(1)
    reference = straight(layout)[0]
    with small_disk(folder) as disk:
        run, output = disk / "run", folder / "output.txt"
        job = start(layout, run, output, "--train.checkpoint.every-steps", "1000", "--tensorboard")
        job.until(lambda: newest_step(run) >= chance.randrange(1, 10))
        fill(disk)
        reached = newest_step(run)
        job.until(lambda: job.said().count("is dropped") > 0)
        (disk / "filler").unlink()
        code, said = job.wait(), job.said()
        wrong = f"ended with {code}" if code else different_arrays(run, reference)
        if not wrong and said.count("JsonlWriter failed and is dropped") != 1:
            wrong = "the lost records were not named once"
        return {"wrong": wrong, "at_step": reached}


def save_stuck(folder: Path, chance: random.Random) -> Outcome:
    """The disk freezes in the middle of a save: the watchdog ends the run, which then goes on."""
    layout = Layout(1)
    straight(layout)
    disk, image = folder / "disk", folder / "image"
    disk.mkdir()
    subprocess.run(["truncate", "-s", "100M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    try:
        run, output = disk / "run", folder / "output.txt"
        limit = ["--watchdog.other-minutes", "0.1"]
        job = start(layout, run, output, *limit)
        step = chance.randrange(EVERY, 4 * EVERY)
        job.until(lambda: newest_step(run) >= step)
        subprocess.run(["fsfreeze", "-f", disk], check=True)
        began = time.monotonic()
        try:
            job.until(lambda: not job.running())
        finally:
            subprocess.run(["fsfreeze", "-u", disk], check=True)
        seconds, code = time.monotonic() - began, job.wait()
        wrong = "" if code == 76 else f"ended with {code}"
        return {"wrong": wrong or finish(layout, run, output), "seconds": round(seconds, 1)}
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


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
        jobs = [start_on(host, index, run, output) for index, host in enumerate(hosts)]
        codes = [job.wait() for job in jobs]
        wrong = f"ended with {codes}" if any(codes) else difference(run, reference)
        return {"wrong": wrong, "down_seconds": round(down, 1), "at_step": step}


def start_on(host: str, index: int, run: Path, output: Path) -> Job:
    """Process `index` of two, on a host of its own."""
    resume = (run / "config.yaml").exists()
    words = ["--run-dir", str(run), "--resume"] if resume else ["tiny", "--run-dir", str(run)]
    settings = ["--distributed.coordinator", "10.77.0.1:8476", "--distributed.num-processes", "2"]
    settings += ["--distributed.process-id", str(index), "--distributed.start", "explicit"]
    command = [*Layout(1).command("train", *words, *FLAGS, *settings)]
    return Job(["ip", "netns", "exec", host, *command], output.with_suffix(f".{index}.txt"))


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


BIT_EQUAL = "losses and final arrays bit-equal to the undisturbed run"
FAULTS: dict[str, Fault] = {
    **{
        f"kill -9 of all, {n} process{'es' * (n > 1)}": Fault(
            100, kill_all(n), f"{BIT_EQUAL}; at most two save intervals lost"
        )
        for n in (1, 2, 4)
    },
    **{
        f"{name}, one of 4": Fault(20, one_of_four(how), f"down within 15 s, {BIT_EQUAL}")
        for name, how in {
            "kill -9": "SIGKILL",
            "SIGSTOP": "SIGSTOP",
            "segfault": "SIGSEGV",
            "exception": "raise",
            "exit 0 too early": "exit",
        }.items()
    },
    "SIGTERM, one process": Fault(20, sigterm(1, "all", "step"), f"exit 75 in 10 s, {BIT_EQUAL}"),
    "SIGTERM to the launcher of 4": Fault(
        20, sigterm(4, "all", "step"), f"exit 75 in 10 s, {BIT_EQUAL}"
    ),
    "SIGTERM to one of 4": Fault(
        20, sigterm(4, "one", "step"), f"all save, the launcher restarts them, {BIT_EQUAL}"
    ),
    **{
        f"SIGTERM during {when}": Fault(
            20, sigterm(1, "all", when), f"exit 75 in 10 s, {BIT_EQUAL}"
        )
        for when in ("save", "evaluation", "compile")
    },
    **{
        f"checkpoint file {how}": Fault(60, damage(how), "noticed, set aside, the one before used")
        for how in ("flipped by a bit", "truncated", "deleted")
    },
    "one of 4 paused for 3 s": Fault(10, pause, "nothing happens"),
    "disk full during save": Fault(10, disk_full, "clear error, resumes when there is room"),
    "disk full for records": Fault(10, records_full, "the run goes on, says so once, saves"),
    "save stuck (disk frozen)": Fault(10, save_stuck, f"watchdog ends it, {BIT_EQUAL}"),
    "network between two hosts cut and back": Fault(10, network_cut, f"both end, {BIT_EQUAL}"),
    "4 -> 2 -> 1 -> 4 processes": Fault(10, sizes, "each row once, losses within 2e-6"),
}
