"""A job of several processes on this machine: real jax.distributed over loopback, on the CPU."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

ROOT = Path(__file__).resolve().parent.parent.parent
GRACE = 10.0  # seconds from the first failure or signal until what still runs is killed


def run_local(command: Sequence[str], *, processes: int, devices_per_process: int) -> int:
    """Run `command` as `processes` processes of one job and return the job's exit code.

    Process 0 writes straight to the terminal, each line of the others begins with their number. The
    first process that fails ends the job with its code (128 + number for a signal). Ctrl-C and
    SIGTERM are passed on to all; those that do not end within `GRACE` seconds are killed.
    """
    for name, value in (("processes", processes), ("devices_per_process", devices_per_process)):
        if value < 1:
            flag = name.replace("_", "-")
            raise ValueError(
                f"{name}={value} must be at least 1, because it counts; try --{flag} 1"
            )
    coordinator = f"127.0.0.1:{_free_port()}"
    job = _Job()
    previous = {s: signal.signal(s, job.pass_on) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        for index in range(processes):
            environment = _environment(coordinator, processes, index, devices_per_process)
            job.start(index, command, environment)
        return job.wait()
    finally:
        job.kill()
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Job:
    """The processes and the order in which they end."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.threads: list[threading.Thread] = []
        self.ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.deadline: threading.Timer | None = None

    def start(self, index: int, command: Sequence[str], environment: dict[str, str]) -> None:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if index else None,
            stderr=subprocess.STDOUT if index else None,
            process_group=0,
        )
        self.processes.append(process)
        self._in_thread(lambda: self.ended.put(process.wait()))
        if (output := process.stdout) is not None:
            self._in_thread(lambda: _copy_lines(output, f"[{index}] ".encode()))

    def wait(self) -> int:
        """Exit code of the job: 0, or that of the first process that did not end with 0."""
        first_failure = 0
        for _ in self.processes:
            code = self.ended.get()
            if code and not first_failure:
                first_failure = 128 - code if code < 0 else code
                self._kill_after_grace()
        if self.deadline is not None:
            self.deadline.cancel()
        for thread in self.threads:
            thread.join()
        return first_failure

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        """Send a signal that reached us to every process; at the second one kill them."""
        if self.deadline is not None:
            self.kill()
        self._kill_after_grace()
        self._signal(number)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _kill_after_grace(self) -> None:
        if self.deadline is None:
            self.deadline = threading.Timer(GRACE, self.kill)
            self.deadline.daemon = True
            self.deadline.start()

    def _signal(self, number: int) -> None:
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)

    def _in_thread(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        self.threads.append(thread)


def _environment(coordinator: str, processes: int, index: int, devices: int) -> dict[str, str]:
    inherited = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *([inherited] if inherited else [])]),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COORDINATOR_ADDRESS": coordinator,
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(index),
    }


def _copy_lines(source: IO[bytes], prefix: bytes) -> None:
    with source:
        for line in source:
            sys.stdout.buffer.write(prefix + line)
            sys.stdout.buffer.flush()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
