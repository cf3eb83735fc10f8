"""A job of several processes on this machine: real jax.distributed over loopback."""

import contextlib
import itertools
import os
import queue
import signal
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from data.errors import UserError
from launch.checkout import ROOT
from launch.cluster.gang import Events, Gang
from launch.cluster.supervisor import ONCE, watch
from launch.config import MOST_VIRTUAL
from launch.process.typed import variables
from launch.schema import bounds

Processes = Annotated[int, Interval(ge=1, le=1024)]
Devices = Annotated[int, Interval(ge=1, le=MOST_VIRTUAL)]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@dataclass(frozen=True, kw_only=True)
class LocalOptions:
    """Start a command as one job of several processes on this machine.

    When a process fails, `train` is started again from its last checkpoint.

    COMMAND follows the flags: `meshloom launch local --processes 2 train tiny`.
    """

    processes: Processes | None = None
    """Processes of the job; if not given, one for each of --gpus, and without those 2."""
    devices_per_process: Devices | None = None
    """Virtual CPU devices of each process; 1 if not given."""
    gpus: str | None = None
    """Run on these GPUs, as in 0,1,2,3, shared out evenly among the processes."""
    restarts: Annotated[int, Interval(ge=0, le=10**6)] = 3
    """Restarts in a row that may bring no progress before the job is given up; 0: none at all."""
    min_processes: Processes | None = None
    """Continue with fewer processes, but not fewer than this, when the same one fails again."""

    def __post_init__(self) -> None:
        bounds.require(self)
        gpus = self.gpu_names()
        if gpus and self.devices_per_process is not None:
            raise UserError(
                f"devices_per_process={self.devices_per_process} must not come with gpus="
                f"{self.gpus}, because it counts CPU devices; try without --devices-per-process"
            )
        if gpus and len(gpus) % (self.processes or 1):
            raise UserError(
                f"gpus={self.gpus} must be a multiple of processes={self.processes}, because each "
                f"process gets as many, but there are {len(gpus)}; try --processes {len(gpus)}"
            )
        most = self.processes or len(gpus) or 2
        if self.min_processes is not None and self.min_processes > most:
            raise UserError(
                f"min_processes={self.min_processes} must be at most processes={most}, because "
                f"the job begins with those; try --min-processes {most}"
            )

    def gpu_names(self) -> list[str]:
        """What CUDA_VISIBLE_DEVICES calls them; none for a job on the CPU."""
        if self.gpus is None:
            return []
        names = [name.strip() for name in self.gpus.split(",")]
        if "" in names or len(set(names)) < len(names):
            raise UserError(
                f"gpus={self.gpus} must name each GPU once, because a process owns those it gets; "
                "try --gpus 0,1"
            )
        return names


def run_local(command: Sequence[str], options: LocalOptions) -> int:
    """Run any `command` once, as the processes of one job; return the job's exit code.

    Process 0 writes to the terminal, each line of the others begins with their number. The first
    process that fails ends the job with its code (128 + number for a signal). Signals are passed
    on to all; a second one kills those that are left.
    """
    with LocalPlaces(options) as places:
        with contextlib.closing(places.start(command, all_output=True)) as gang:
            failure, _ = watch(gang, places.events, ONCE)
    return failure.code if failure else 0


class LocalPlaces:
    """The processes' shares of this machine: CPU devices, or GPUs by their names.

    Inside `with`, there is a folder for their heartbeats and a port for the coordinator, and
    signals to this process become events.
    """

    def __init__(self, options: LocalOptions) -> None:
        self.options = options
        self.events: Events = queue.SimpleQueue()
        gpus = options.gpu_names()
        count = options.processes or len(gpus) or 2
        size = len(gpus) // count
        self._gpus = [gpus[n * size : (n + 1) * size] for n in range(count)]
        self.devices_per_process = size or options.devices_per_process or 1
        self._closing = contextlib.ExitStack()
        self._folder = Path()
        self._port = contextlib.ExitStack()

    def __enter__(self) -> "LocalPlaces":
        folder = tempfile.TemporaryDirectory(prefix="meshloom-", ignore_cleanup_errors=True)
        self._folder = Path(self._closing.enter_context(folder))
        for number in SIGNALS:
            before = signal.signal(number, lambda number, frame: self.events.put(number))
            self._closing.callback(signal.signal, number, before)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        self._port.close()

    def __len__(self) -> int:
        return len(self._gpus)

    def start(self, command: Sequence[str], *, all_output: bool = False) -> Gang:
        """Start a program on every place; `all_output` as in `Gang`."""
        self._port.close()
        port = self._port.enter_context(_reserved_port())
        coordinator = f"127.0.0.1:{port.getsockname()[1]}"
        environments = [self._environment(coordinator, n) for n in range(len(self))]
        return Gang(
            command, environments, events=self.events, folder=self._folder, all_output=all_output
        )

    def keep(self, count: int, without: int) -> None:
        """Give up the place of that number, and then the last ones until `count` are left."""
        del self._gpus[without]
        del self._gpus[count:]

    def launcher(self) -> list[str]:
        """The words that start the job on these places, from `launch` to the command it runs."""
        words = ["launch", "local", "--processes", str(len(self))]
        if self.options.restarts != LocalOptions.restarts:
            words += ["--restarts", str(self.options.restarts)]
        if self.options.min_processes is not None:
            words += ["--min-processes", str(self.options.min_processes)]
        if gpus := list(itertools.chain(*self._gpus)):
            return [*words, "--gpus", ",".join(gpus)]
        return [*words, "--devices-per-process", str(self.devices_per_process)]

    def _environment(self, coordinator: str, index: int) -> dict[str, str]:
        inherited = os.environ.get("PYTHONPATH")
        devices = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(self.devices_per_process)}
        if gpus := self._gpus[index]:
            # `cuda` first: JAX then fails where it is missing, in place of using the CPU.
            devices = {"JAX_PLATFORMS": "cuda,cpu", "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *([inherited] if inherited else [])]),
            "JAX_COORDINATOR_ADDRESS": coordinator,
            "JAX_NUM_PROCESSES": str(len(self)),
            "JAX_PROCESS_ID": str(index),
            **variables(self.launcher()),
            **devices,
        }


def _reserved_port() -> socket.socket:
    """A socket on a free port of loopback. While it is open no other program gets that port by
    chance, and process 0, which shares it on purpose, can still listen there."""
    port = socket.socket()
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    port.bind(("127.0.0.1", 0))
    return port
