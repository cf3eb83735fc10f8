"""Gangs of small real programs that give heartbeats, for a supervisor to decide about."""

import os
import queue
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from launch.cluster import pulse, supervisor
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
        self._fewest = 3
        self._program = PRELUDE + program
        self._folder = folder

    def run(self, restarts: int = 3, start: float = 60.0, fewest: int = 3) -> int:
        self._fewest = fewest
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
        if len(self._places) == self._fewest:
            return False
        del self._places[failure.number]
        return True

    def stopped(self) -> None:
        self.why = "stopped"

    def give_up(self, failures: Sequence[Failure], why: str) -> None:
        self.failures, self.why = failures, why


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let supervisors wait for tenths of seconds."""
    monkeypatch.setattr(supervisor, "GRACE", 0.2)
    monkeypatch.setattr(supervisor, "TICK", 0.05)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(pulse, "STILL", 1.0)


def gone(pid: int) -> bool:
    """Whether no such process is left."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
