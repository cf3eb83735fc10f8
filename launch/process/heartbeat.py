"""Reports to a supervisor on this machine, by a file, that this process lives and what it does."""

import json
import os
import socket
import sys
import time
from pathlib import Path

from data import durable
from launch.process.exits import start_thread
from train.report.phases import Phases

VARIABLE = "MESHLOOM_HEARTBEAT"
EVERY = 1.0  # seconds


class Heartbeat:
    """Replaces the file that the environment names every second, whole or not at all.

    One JSON object: `process` (null before the job is joined), `pid`, `host`, `phase`,
    `phase_since` (Unix time), `step` (the last finished one, null before the first), `time`.
    """

    def __init__(self, phases: Phases) -> None:
        self.process: int | None = None
        """This process's number in the job."""
        self._phases = phases
        if path := os.environ.get(VARIABLE):
            start_thread(lambda: self._run(Path(path)), "heartbeat")

    def _run(self, path: Path) -> None:
        working = True
        while True:
            try:
                # Not flushed: a disk that stands still must not hold it up.
                durable.write(path, json.dumps(self._beat()) + "\n", flush=False)
                working = True
            except OSError as error:
                if working:
                    text = f"{VARIABLE}={path} cannot be written; the run continues. {error}"
                    print(text, file=sys.stderr, flush=True)
                working = False
            time.sleep(EVERY)

    def _beat(self) -> dict[str, object]:
        phase = self._phases.now
        return {
            "process": self.process,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "phase": phase.name,
            "phase_since": self._phases.wall(phase.begin),
            "step": phase.step,
            "time": time.time(),
        }
