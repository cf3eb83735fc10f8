"""Publishes when this process is long at something other than a step, and sees when others are.

Those that have begun the step wait for it there, and must not take their wait for a hang.
"""

import contextlib
import threading
import time

import jax

from launch.process.exits import start_thread
from train.processes import Coordination
from train.report.phases import Phases

FOLDER = "meshloom/not-at-a-step"
LOOK, PUBLISH, ASK = 0.125, 0.25, 0.5
"""Parts of the time that a step may take: between two looks, and after which to publish and to ask,
so that it is published before it is asked for, and asked for before a step counts as hung."""


class Peers:
    """A thread talks to them; where the coordinator stands still, it waits alone."""

    def __init__(self, job: Coordination | None, phases: Phases, step_seconds: float) -> None:
        self.delayed_at: float | None = None
        """When one of them was last known to be at something other than a step."""
        self._phases = phases
        self._step_seconds = step_seconds
        self._closed = threading.Event()
        if job is not None:
            start_thread(lambda: self._run(job), "peers")

    def close(self) -> None:
        """Publish and ask no more."""
        self._closed.set()

    def _run(self, job: Coordination) -> None:
        published = False
        while not self._closed.wait(LOOK * self._step_seconds):
            since, now = self._phases.off_step_since(), time.monotonic()
            late = since is not None and now - since > PUBLISH * self._step_seconds
            lasts = now - self._phases.now.mark
            # A coordinator that does not answer is asked again; if it is gone, the job ends.
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                if late and not published:
                    job.publish(FOLDER, "")
                elif published and not late:
                    job.withdraw(FOLDER)
                published = late
                if since is None and lasts > ASK * self._step_seconds and job.published(FOLDER):
                    self.delayed_at = time.monotonic()
