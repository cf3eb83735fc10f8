"""A job of several processes on this machine: real jax.distributed over loopback."""

import contextlib
import os
import queue
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

from annotated_types import Interval

from data.errors import UserError
from launch.checkout import ROOT
from launch.cluster.gang import Events, Gang
from launch.cluster.output import say
from launch.cluster.restartable import Restartable
from launch.cluster.supervisor import ONCE, TRAINING, supervise, watch
from launch.config import MOST_VIRTUAL
from launch.process.typed import variables
from launch.run.arguments import TrainOptions
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


def run_local(command: Sequence[str], *, processes: int, devices_per_process: int) -> int:
    """Run any `command` once, as `processes` processes of one job; return the job's exit code.

    Process 0 writes to the terminal, each line of the others begins with their number. The first
    process that fails ends the job with its code (128 + number for a signal). Signals are passed
    on to all; a second one kills those that are left.
    """
    places = LocalPlaces.of(
        LocalOptions(processes=processes, devices_per_process=devices_per_process)
    )
    return _run_once(command, places)


def launch_local(command: Sequence[str], options: LocalOptions, train: TrainOptions | None) -> int:
    """Run `meshloom COMMAND` as `options` say; a training (`train`: what its arguments say) is
    supervised and restarted. Returns the job's exit code."""
    places = LocalPlaces.of(options)
    if train is None:
        return _run_once([sys.executable, "-m", "launch", *command], places)
    with places, _signals(places.events):
        training = Restartable(command[1:], train, places, options.min_processes)
        patience = TRAINING._replace(start=train.run.distributed.start_timeout)
        try:
            return supervise(
                training, places.events, say, restarts=options.restarts, patience=patience
            )
        finally:
            training.close()


def _run_once(command: Sequence[str], places: "LocalPlaces") -> int:
    with places, _signals(places.events):
        gang = places.start_program(command, all_output=True)
        try:
            failure, _ = watch(gang, places.events, ONCE, lambda gang: None)
        finally:
            gang.close()
    return failure.code if failure else 0


class LocalPlaces:
    """The processes' shares of this machine: CPU devices, or GPUs by their names.

    Inside `with`, there is a folder for their heartbeats and a port for the coordinator.
    """

    def __init__(self, options: LocalOptions, gpus: list[list[str]], count: int) -> None:
        self.events: Events = queue.SimpleQueue()
        self.devices_per_process = len(gpus[0]) if gpus else options.devices_per_process or 1
        self._options = options
        self._gpus = gpus
        self._count = count
        self._closing = contextlib.ExitStack()
        self._folder = Path()
        self._port: socket.socket | None = None

    @classmethod
    def of(cls, options: LocalOptions) -> "LocalPlaces":
        gpus = options.gpu_names()
        count = options.processes or len(gpus) or 2
        share = len(gpus) // count
        shares = [gpus[n * share : (n + 1) * share] for n in range(count)] if gpus else []
        return cls(options, shares, count)

    def __enter__(self) -> "LocalPlaces":
        folder = tempfile.TemporaryDirectory(prefix="meshloom-", ignore_cleanup_errors=True)
        self._folder = Path(self._closing.enter_context(folder))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        if self._port is not None:
            self._port.close()

    def __len__(self) -> int:
        return self._count

    def start(self, command: Sequence[str]) -> Gang:
        return self.start_program([sys.executable, "-m", "launch", *command])

    def start_program(self, command: Sequence[str], *, all_output: bool = False) -> Gang:
        """Start any program on every place; `all_output` as in `Gang`."""
        if self._port is not None:
            self._port.close()
        self._port = _hold_port()
        coordinator = f"127.0.0.1:{self._port.getsockname()[1]}"
        environments = [self._environment(coordinator, n) for n in range(self._count)]
        return Gang(
            command, environments, events=self.events, folder=self._folder, all_output=all_output
        )

    def keep(self, count: int, without: int) -> None:
        if self._gpus:
            del self._gpus[without]
            del self._gpus[count:]
        self._count = count

    def launcher(self) -> list[str]:
        words = ["launch", "local", "--processes", str(self._count)]
        if self._options.restarts != LocalOptions.restarts:
            words += ["--restarts", str(self._options.restarts)]
        if self._options.min_processes is not None:
            words += ["--min-processes", str(self._options.min_processes)]
        if self._gpus:
            return [*words, "--gpus", ",".join(name for share in self._gpus for name in share)]
        return [*words, "--devices-per-process", str(self.devices_per_process)]

    def _environment(self, coordinator: str, index: int) -> dict[str, str]:
        inherited = os.environ.get("PYTHONPATH")
        if self._gpus:
            # `cuda` first: JAX then fails where it is missing, in place of using the CPU.
            devices = {
                "CUDA_VISIBLE_DEVICES": ",".join(self._gpus[index]),
                "JAX_PLATFORMS": "cuda,cpu",
            }
        else:
            devices = {
                "JAX_PLATFORMS": "cpu",
                "JAX_NUM_CPU_DEVICES": str(self.devices_per_process),
            }
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *([inherited] if inherited else [])]),
            "JAX_COORDINATOR_ADDRESS": coordinator,
            "JAX_NUM_PROCESSES": str(self._count),
            "JAX_PROCESS_ID": str(index),
            **variables(self.launcher()),
            **devices,
        }


@contextlib.contextmanager
def _signals(events: Events) -> Iterator[None]:
    """Within, signals to this process become events."""

    def heard(number: int, frame: FrameType | None) -> None:
        events.put(number)

    previous = {number: signal.signal(number, heard) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _hold_port() -> socket.socket:
    """A socket on a free port of loopback. While it is open no other program gets that port by
    chance, and process 0, which shares it on purpose, can still listen there."""
    port = socket.socket()
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    port.bind(("127.0.0.1", 0))
    return port
