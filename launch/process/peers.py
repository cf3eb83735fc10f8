"""Tells the other processes when this one is long at what is no step, and hears it from them.

Those that have begun the step wait for it there, and must not take their wait for a hang.
"""

import contextlib
import threading
import time

import jax

from launch.process.exits import OWN_THREADS
from train.processes import Coordination
from train.report.phases import Phases

FOLDER = "meshloom/beside-steps"
LOOK, TELL, ASK = 0.125, 0.25, 0.5
"""Of the time a step may take: the rhythm, and when to tell and to ask, so that it is told before
it is asked for, and asked for before a step counts as hung."""


class Peers:
    """A thread of its own talks to them: where the coordinator stands still, it does so alone."""

    def __init__(self, job: Coordination | None, phases: Phases, step_seconds: float) -> None:
        self.held_up_at: float | None = None
        """When one of them was last known to be at something else than a step."""
        self._phases = phases
        self._step_seconds = step_seconds
        self._closed = threading.Event()
        if job is not None:
            name = f"{OWN_THREADS} peers"
            threading.Thread(target=self._run, args=(job,), name=name, daemon=True).start()

    def close(self) -> None:
        """Tell and ask no more."""
        self._closed.set()

    def _run(self, job: Coordination) -> None:
        told = False
        while not self._closed.wait(LOOK * self._step_seconds):
            since, now = self._phases.beside_since(), time.monotonic()
            beside = since is not None and now - since > TELL * self._step_seconds
            lasts = now - self._phases.now.mark
            # A coordinator that does not answer is asked again; one that is gone ends the job.
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                if beside and not told:
                    job.publish(FOLDER, "")
                elif told and not beside:
                    job.withdraw(FOLDER)
                told = beside
                if since is None and lasts > ASK * self._step_seconds and job.published(FOLDER):
                    self.held_up_at = time.monotonic()
