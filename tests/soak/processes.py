"""Faults of processes: killed, stopped, asked to end, failing from inside, in other numbers."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.soak.job import EVERY, STEPS, Layout, alive, began_at, difference, losses, newest_step
from tests.soak.run import Outcome, finish, start, straight


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
        # A save is written while training continues: those steps can be lost as well.
        if not wrong and lost > 2 * EVERY:
            wrong = f"{lost} steps were lost"
        return {"wrong": wrong, "killed_at_step": reached, "lost": lost}

    return do


def process_of_four(how: str) -> Callable[[Path, random.Random], Outcome]:
    """One process of four fails; the launcher must bring all down and the run to its end."""

    def do(folder: Path, chance: random.Random) -> Outcome:
        layout = Layout(4)
        reference = straight(layout)[0]
        run, output, trigger = folder / "run", folder / "output.txt", folder / "trigger"
        job = start(layout, run, output, MESHLOOM_SOAK_TRIGGER=str(trigger))
        step, victim = chance.randrange(1, STEPS - 15), chance.randrange(4)
        if not job.until(lambda: newest_step(run) >= step):
            return {"wrong": f"ended before step {step}, see {output}"}
        before = job.trainers()
        if how in ("raise", "exit"):
            trigger.with_suffix(".new").write_text(f"{victim} {how}")
            os.replace(trigger.with_suffix(".new"), trigger)
        elif how == "coordinator":
            (host,) = [process for process in before if hosts_coordinator(process)]
            host.kill()
        else:
            before[victim].send_signal(getattr(signal, how))
        began = time.monotonic()
        job.until(lambda: not any(map(alive, before)))
        down = time.monotonic() - began
        reached = newest_step(run)
        job.until(lambda: newest_step(run) > reached or not job.running())
        back = time.monotonic() - began
        code = job.wait()
        wrong = f"ended with {code}" if code else difference(run, reference)
        lost = reached - began_at(output.read_text(errors="replace"))
        if not wrong and lost > 2 * EVERY:
            wrong = f"{lost} steps were lost"
        if not wrong and down > 15:
            wrong = f"down only after {down:.0f} s"
        seconds = {"down_seconds": round(down, 2), "back_seconds": round(back, 2)}
        return {"wrong": wrong, "lost": lost, **seconds}

    return do


def hosts_coordinator(process: psutil.Process) -> bool:
    """Whether this process takes calls at the port that the job's processes are given."""
    port = int(process.environ()["JAX_COORDINATOR_ADDRESS"].rpartition(":")[2])
    taken = process.net_connections("tcp")
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in taken)


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
        exited = {"seconds": round(seconds, 2)} if expected == 75 else {}
        return {"wrong": wrong, **exited, "at_step": reached}

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
    actual = losses(run)
    if actual.keys() != reference.keys():
        return {"wrong": "steps are missing"}
    apart = max(abs(actual[s] / reference[s] - 1) for s in reference)
    return {"wrong": "" if apart <= 2e-6 else f"losses differ by {apart:.1e}", "apart": apart}
