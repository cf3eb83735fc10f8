"""The processes of one attempt on this machine: started, listened to, waited for, killed."""

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from launch.cluster.output import Complaints, Output, put
from launch.cluster.pulse import Pulse
from launch.process.exits import start_thread

Events = queue.SimpleQueue["Member | int"]
"""Members that have ended, and signals that have reached us, in order."""


class Member:
    """One process of a gang. Times are of `time.monotonic`."""

    def __init__(self, number: int, process: subprocess.Popen[bytes], heartbeat: Path) -> None:
        self.number = number
        self.process = process
        self.started = time.monotonic()
        self.ended: float | None = None
        self.code: int | None = None
        """Exit code, or minus the signal; None while it runs."""
        self.killed = False
        """Whether it still ran when we killed it."""
        self.output = Output()
        self.log: Path | None = None
        self.pulse = Pulse(heartbeat, process.pid, self.started)

    def is_done(self) -> bool:
        """Whether its heartbeat says that its work was done."""
        return self.pulse.last.get("phase") == "finish"


class Gang:
    """Starts one process for each environment and puts those that end into `events`.

    Process 0 speaks to the terminal. What the others say is for their logs alone; if `all_output`,
    it is shown too, each line after their number. `folder` takes the heartbeat files.
    """

    def __init__(
        self,
        command: Sequence[str],
        environments: Sequence[Mapping[str, str]],
        *,
        events: Events,
        folder: Path,
        all_output: bool = False,
    ) -> None:
        self.members: list[Member] = []
        self.complaints = Complaints()
        self._events = events
        self._threads: list[threading.Thread] = []
        try:
            for number, environment in enumerate(environments):
                self._start(number, command, environment, folder / f"{number}.json", all_output)
        except BaseException:
            self.kill()
            raise

    def _start(
        self,
        number: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        heartbeat: Path,
        all_output: bool,
    ) -> None:
        heartbeat.unlink(missing_ok=True)
        piped = number > 0 or not all_output
        process = subprocess.Popen(
            command,
            env={
                **environment,
                "MESHLOOM_HEARTBEAT": str(heartbeat),
                "MESHLOOM_LAUNCHER": str(os.getpid()),
                **(_as_on_a_terminal() if number == 0 and piped else {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else None,
            stderr=None if not piped else subprocess.PIPE if number == 0 else subprocess.STDOUT,
            process_group=0,
        )
        member = Member(number, process, heartbeat)
        self.members.append(member)

        def show(data: bytes) -> None:
            if number == 0:
                put(sys.stdout, data)
            elif all_output:
                put(sys.stdout, f"[{number}] ".encode() + data)

        if process.stdout is not None:
            self._read(process.stdout, member, show, by_line=all_output)
        if process.stderr is not None:
            self._read(process.stderr, member, self.complaints.write)
        self._threads.append(start_thread(lambda: self._await(member), "process"))

    def running(self) -> list[Member]:
        return [member for member in self.members if member.code is None]

    def signal(self, number: int) -> None:
        """Send a signal to every process that runs, and to those it has started."""
        for member in self.running():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(member.process.pid, number)

    def kill(self) -> None:
        for member in self.running():
            member.killed = True
        self.signal(signal.SIGKILL)

    def keep_logs(self, folder: Path, name: str) -> None:
        """Write logs `folder/name-process-<number>.log`, from the first line on."""
        for member in self.members:
            path = folder / f"{name}-process-{member.number}.log"
            if member.log is None and member.output.keep_in(path):
                member.log = path

    def close(self) -> None:
        """Kill what still runs, and read everything to its end."""
        self.kill()
        for thread in self._threads:
            thread.join()
        self.complaints.show(everything=True)
        for member in self.members:
            member.output.close()

    def _await(self, member: Member) -> None:
        pid = member.process.pid
        # Its children must go too, while its number cannot be another's: before it is reaped.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        code = member.process.wait()
        member.ended = time.monotonic()
        member.code = code
        self._events.put(member)

    def _read(
        self,
        source: IO[bytes],
        member: Member,
        show: Callable[[bytes], None],
        *,
        by_line: bool = False,
    ) -> None:
        def copy() -> None:
            with source:
                while data := source.readline() if by_line else os.read(source.fileno(), 1 << 16):
                    member.output.feed(data)
                    show(data)

        self._threads.append(start_thread(copy, "output"))


def _as_on_a_terminal() -> dict[str, str]:
    """What makes a process write to a pipe as it would to our output."""
    unbuffered = {"PYTHONUNBUFFERED": "1"}
    if not sys.stdout.isatty():
        return unbuffered
    columns = str(shutil.get_terminal_size().columns)
    return {**unbuffered, "TTY_COMPATIBLE": "1", "COLUMNS": columns}
