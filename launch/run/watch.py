"""What watches a training process from outside its steps."""

import functools
import socket
import time
from typing import NamedTuple

from launch.process import exits
from launch.process.interrupt import Stop
from launch.run.timeline import Timeline
from train.config import WatchdogConfig
from train.guard.watchdog import Watchdog
from train.processes import Coordination
from train.report.phases import Phases


class Watch(NamedTuple):
    """Says what the process is doing, when it hangs, and when it is to stop."""

    phases: Phases
    stop: Stop
    timeline: Timeline
    watchdog: Watchdog
    job: Coordination | None
    """The other processes, if there are any."""


def start_watchdog(phases: Phases, config: WatchdogConfig, process: int) -> Watchdog:
    """A watchdog that ends this process, of that number, when a phase hangs."""
    return Watchdog(phases, config, functools.partial(_hung, phases, process))


def _hung(phases: Phases, process: int, what: str) -> None:
    phase = phases.now
    where = f"process {process} on {socket.gethostname()}, in phase {phase.name}"
    exits.leave_hung(f"{where} since {time.monotonic() - phase.begin:.0f} s", what)
