"""The supervisor's decisions, on gangs of small real programs that give heartbeats."""

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from launch.cluster import heartbeat, supervisor
from launch.cluster.failure import Failure
from launch.cluster.gang import Events, Gang
from launch.cluster.supervisor import TRAINING, supervise

PRELUDE = """
import json, os, signal, sys, threading, time
rank, attempt = int(os.environ["RANK"]), int(os.environ["ATTEMPT"])
def beat(step, phase="step"):
    now, path = time.time(), os.environ["MESHLOOM_HEARTBEAT"]
    told = dict(process=rank, pid=os.getpid(), host="here", phase=phase, step=step)
    with open(path + ".new", "w") as file:
        json.dump({**told, "phase_since": now - 1, "time": now}, file)
    os.replace(path + ".new", path)
def beat_on(step):
    def again():
        while True:
            beat(step)
            time.sleep(0.05)
    beat(step)
    threading.Thread(target=again, daemon=True).start()
def others_wait():
    if rank != 1:
        threading.Event().wait()
"""


class Programs:
    """A job of three processes that run one program; it tells what was decided about it."""

    def __init__(self, program: str, folder: Path) -> None:
        self.events: Events = queue.SimpleQueue()
        self.said: list[str] = []
        self.say: Callable[[str], None] = self.said.append
        self.failures: Sequence[Failure] = []
        self.why = ""
        self.started: list[int] = []
        self.pids: list[int] = []
        self._places = [0, 1, 2]
        self._least = 3
        self._program = PRELUDE + program
        self._folder = folder

    def run(self, restarts: int = 3, start: float = 60.0, least: int = 3) -> int:
        self._least = least
        patience = TRAINING._replace(early=0.5, start=start)
        return supervise(self, self.events, self.say, restarts=restarts, patience=patience)

    def start(self, attempt: int) -> Gang:
        self.started.append(len(self._places))
        gang = Gang(
            [sys.executable, "-ISc", self._program],
            [
                {
                    **os.environ,
                    "RANK": str(place),
                    "ATTEMPT": str(attempt),
                    "HERE": str(self._folder),
                }
                for place in self._places
            ],
            events=self.events,
            folder=self._folder,
        )
        self.pids += [member.process.pid for member in gang.members]
        return gang

    def look(self, gang: Gang) -> None:
        pass

    def saved_step(self) -> int | None:
        saved = self._folder / "saved"
        return int(saved.read_text()) if saved.exists() else None

    def shrink(self, failure: Failure) -> bool:
        if len(self._places) == self._least:
            return False
        del self._places[failure.number]
        return True

    def stopped(self) -> None:
        self.why = "stopped"

    def give_up(self, failures: Sequence[Failure], why: str) -> None:
        self.failures, self.why = failures, why


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "GRACE", 0.2)
    monkeypatch.setattr(supervisor, "TICK", 0.05)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(heartbeat, "STILL", 1.0)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


FAULTS = {
    "os.kill(os.getpid(), signal.SIGKILL)": ("was killed by SIGKILL", 137),
    "os.kill(os.getpid(), signal.SIGSEGV)": ("was killed by SIGSEGV", 139),
    "os._exit(70)": ("ended with 70 (an unexpected exception)", 70),
    "os._exit(75)": ("ended with 75 (saved and stopped, by a signal that did not", 75),
    "os._exit(76)": ("ended with 76 (its watchdog took it as hung)", 76),
    "os._exit(0)": ("ended with 0 while others still worked", 70),
    "os.kill(os.getpid(), signal.SIGSTOP)": ("stood still for", 76),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_that_fails_is_named_and_all_go_on_again(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SAVING", 0.2)
    (tmp_path / "saved").write_text("30")
    job = Programs(f"beat_on(37)\nif attempt == 1:\n  others_wait()\n  {fault}\n", tmp_path)
    assert job.run() == 0
    assert job.started == [3, 3] and all(map(gone, job.pids))
    how, _ = FAULTS[fault]
    assert len(job.said) == 1
    assert job.said[0].startswith(f"process 1 {how}")
    assert "at step 37" in job.said[0]
    assert job.said[0].endswith("attempt 2 from step 30")


@pytest.mark.parametrize("fault", FAULTS)
def test_given_up_after_restarts_without_progress_with_the_last_code(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SAVING", 0.2)
    program = (
        f"beat_on(7)\nprint('last words', attempt)\nsys.stdout.flush()\nothers_wait()\n{fault}"
    )
    job = Programs(program, tmp_path)
    how, code = FAULTS[fault]
    assert job.run(restarts=1) == code
    assert job.started == [3, 3] and job.why.startswith("2 failures in a row")
    first, last = job.failures
    assert (first.number, last.number, last.step, last.processes) == (1, 1, 7, 3)
    assert last.how.startswith(how)
    assert last.last_lines == ["last words 2"]
    assert last.heartbeat["host"] == "here" and last.heartbeat["phase"] == "step"
    assert len(last.others) == 2 and all("at step 7 and was killed" in o for o in last.others)


def test_progress_earns_new_restarts(tmp_path: Path) -> None:
    """Five failures: two without progress, progress by a checkpoint, by a heartbeat, and none."""
    program = """
beat([3, 3, 3, 9, 9][attempt - 1])
others_wait()
with open(os.environ["HERE"] + "/saved", "w") as file:
    file.write("28888"[attempt - 1])
os._exit(70)
"""
    job = Programs(program, tmp_path)
    assert job.run(restarts=1) == 70
    # Best steps: 3, 8, 8 (no progress) ends it; the ninth step is never tried.
    assert [f.reached for f in job.failures] == [3, 3, 3]
    assert job.why == "2 failures in a row, and none came beyond step 8"


def test_a_newer_checkpoint_is_progress_though_a_later_step_was_reached(tmp_path: Path) -> None:
    program = """
beat([47, 5, 5, 5][attempt - 1])
others_wait()
with open(os.environ["HERE"] + "/saved", "w") as file:
    file.write(["10", "20", "30", "30"][attempt - 1])
os._exit(70)
"""
    job = Programs(program, tmp_path)
    assert job.run(restarts=1) == 70
    assert job.started == [3] * 4
    assert job.why == "2 failures in a row, and none came beyond step 47"


@pytest.mark.parametrize("code", [1, 2])
def test_a_refusal_is_passed_on_and_not_tried_again(code: int, tmp_path: Path) -> None:
    job = Programs(f"others_wait()\nprint('error: no')\nsys.exit({code})", tmp_path)
    assert job.run() == code
    assert job.started == [3]
    assert job.said[0].splitlines()[-1] == "error: no"


def test_a_death_that_makes_others_refuse_is_still_the_cause(tmp_path: Path) -> None:
    program = """
fifo = os.environ["HERE"] + "/fifo"
if attempt == 1 and rank == 1:
    with open(fifo, "wb"):
        os.kill(os.getpid(), signal.SIGKILL)
if attempt == 1:
    with open(fifo, "rb") as peer:
        peer.read()
    time.sleep(0.1)
    sys.exit(1)
"""
    os.mkfifo(tmp_path / "fifo")
    job = Programs(program, tmp_path)
    assert job.run() == 0
    assert job.started == [3, 3] and job.said[0].startswith("process 1 was killed by SIGKILL")


def test_a_short_pause_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "STILL", 10.0)
    program = """
beat(1, "finish")
if rank == 1:
    child = os.fork()
    if child == 0:
        time.sleep(0.5)
        os.kill(os.getppid(), signal.SIGCONT)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGSTOP)
"""
    job = Programs(program, tmp_path)
    assert job.run() == 0
    assert job.started == [3] and job.said == []


def test_no_heartbeat_at_all_is_a_failure_and_costs_the_place(tmp_path: Path) -> None:
    job = Programs("if attempt == 1:\n  if rank != 1:\n    beat_on(1)\n  time.sleep(99)", tmp_path)
    assert job.run(start=1.0, least=2) == 0
    assert job.started == [3, 2]
    assert "process 1 gave no sign of life in 1 s from its start" in job.said[0]


def test_the_same_one_twice_without_progress_costs_the_place(tmp_path: Path) -> None:
    job = Programs("beat_on(1)\nif attempt < 3:\n  others_wait()\n  os._exit(70)", tmp_path)
    assert job.run(least=2) == 0
    assert job.started == [3, 3, 2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_is_passed_on_once_and_ends_the_job(number: int, tmp_path: Path) -> None:
    program = f"""
def heard(number, frame):
    with open(os.environ["HERE"] + "/heard-%d" % rank, "a") as file:
        file.write("x")
    beat(4)
    os._exit(75)
signal.signal({number:d}, heard)
with open(os.environ["HERE"] + "/ready", "wb") as ready:
    ready.write(b"x")
threading.Event().wait()
"""
    os.mkfifo(tmp_path / "ready")
    job = Programs(program, tmp_path)
    code: list[int] = []
    with open(os.open(tmp_path / "ready", os.O_RDWR), "rb", buffering=0) as ready:
        running = threading.Thread(target=lambda: code.append(job.run()))
        running.start()
        for _ in range(3):
            ready.read(1)
        job.events.put(number)
        running.join()
    assert code == [75] and job.started == [3] and job.why == "stopped"
    assert [(tmp_path / f"heard-{rank}").read_text() for rank in range(3)] == ["x"] * 3


READY = """
with open(os.environ["HERE"] + "/ready", "wb") as ready:
    ready.write(b"x")
"""


def signalled(job: Programs, folder: Path, *numbers: int) -> int:
    """The exit code after these signals, sent at once when all three programs are ready."""
    os.mkfifo(folder / "ready")
    code: list[int] = []
    with open(os.open(folder / "ready", os.O_RDWR), "rb", buffering=0) as ready:
        running = threading.Thread(target=lambda: code.append(job.run()))
        running.start()
        for _ in range(3):
            ready.read(1)
        for number in numbers:
            job.events.put(number)
        running.join()
    return code[0]


@pytest.mark.parametrize(
    ("code", "said"), [(75, []), (70, ["process 0 ended with 70 (an unexpected exception)"])]
)
def test_one_signal_sent_twice_is_one_and_the_code_tells_whether_all_saved(
    code: int, said: list[str], tmp_path: Path
) -> None:
    program = f"""
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
{READY}
signal.sigwait([signal.SIGTERM])
time.sleep(0.3 + rank)
os._exit({code})
"""
    job = Programs(program, tmp_path)
    assert signalled(job, tmp_path, signal.SIGTERM, signal.SIGTERM) == code
    assert job.said == said and job.why == "stopped"


def test_a_second_signal_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "SAME", 0.0)
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    job = Programs(f"{ignore}\n{READY}\nthreading.Event().wait()", tmp_path)
    assert signalled(job, tmp_path, signal.SIGTERM, signal.SIGTERM) == 143
    assert all(map(gone, job.pids))


def test_a_signal_during_the_pause_ends_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 1000.0)
    job = Programs("os._exit(70)", tmp_path)

    def say(line: str) -> None:
        if "attempt 3" in line:
            job.events.put(signal.SIGTERM)

    job.say = say
    assert job.run() == 75 and job.started == [3, 3]
