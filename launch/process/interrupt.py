"""Stop on a signal: after the step under way, at the same one on every process, and saved.

The first SIGTERM, SIGINT or SIGUSR1 asks for it, the next ends the process at once. A thread reads
the signals, since Python runs no handler while the main thread compiles or waits for a step.
"""

import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from data.errors import UserError
from launch.exit_codes import STOPPED, UNEXPECTED
from launch.process import exits

if TYPE_CHECKING:
    from train.processes import Coordination

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
SAME = 1.0  # seconds: a scheduler and a launcher may both pass on the same signal
AGREE = 20  # seconds for all processes to answer
TOGETHER = 1800  # seconds for the slowest to write what it has to write at the end
KEY, POLLS = "meshloom/stop", "meshloom/stop-polls"
OVER = "over"


class Stop:
    """Whether to stop, asked before every step by `reached`, which is local and costs nothing.

    Several processes agree through the coordinator's key-value store: each publishes how often it
    has called `reached` so far, and no further call returns until all have; the call after the
    latest returns True. All make the same calls in the same order.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        """The signal's name once one has come to any process."""
        self.resume_command: str | None = None
        """The command that continues this run, once that is known."""
        self._lock = threading.Lock()
        self._polls = 0
        self._stop_at: int | None = None
        self._over = False
        self._job: Coordination | None = None
        self._agreement: threading.Thread | None = None
        self._signaled_at: float | None = None
        # A Python handler must stand for the wake-up; it runs far too late to do anything itself.
        if threading.current_thread() is not threading.main_thread():
            raise UserError(
                "train must be called in the main thread of a program, because only there signals "
                "can be taken, by which a run is stopped and saved; try a process of its own"
            )
        self._before = {
            number: signal.signal(number, lambda number, frame: None) for number in SIGNALS
        }
        self._read_end, self._write_end = socket.socketpair()
        self._write_end.setblocking(False)
        self._woken_before = signal.set_wakeup_fd(
            self._write_end.fileno(), warn_on_full_buffer=False
        )
        exits.start_thread(self._read_signals, "signals")

    def agree_over(self, job: "Coordination | None") -> None:
        """From here on a stop is agreed upon with the other processes of `job`, if there are."""
        self._job = job
        if job is None:
            return
        self._agreement = exits.start_thread(lambda: self._agree(job), "stop")

    def reached(self) -> bool:
        """Whether to stop here; every process must ask at the same places."""
        with self._lock:
            self._polls += 1
            return self._stop_at is not None and self._polls >= self._stop_at

    def close(self) -> None:
        """No step follows: nothing is agreed upon any more."""
        self._over = True
        if self._job is not None and self._agreement is not None:
            if self._job.is_first:
                self._job.set(KEY, OVER)
            self._agreement.join(TOGETHER)

    def restore(self) -> None:
        """Set the former handlers again, for a program that continues after a run."""
        signal.set_wakeup_fd(self._woken_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _read_signals(self) -> None:
        while True:
            for number in self._read_end.recv(64):
                if number in SIGNALS:
                    self._receive(signal.Signals(number))

    def _receive(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if self._signaled_at is not None:
            if now - self._signaled_at >= SAME:
                exits.leave(128 + number, f"ended by a second signal, {number.name}")
            return
        self._signaled_at = now
        self.asked = number.name
        if self._job is not None:
            # In a thread of its own, so that a coordinator that hangs keeps no second signal away.
            job = self._job
            if not self._over:
                exits.start_thread(lambda: job.set(KEY, number.name), "stop request")
            self._announce()
            return
        with self._lock:
            if self._polls == 0 and not self._over:
                self._leave_before_first_step()
            self._stop_at = self._polls + 1
        self._announce()

    def _announce(self) -> None:
        what = "the run is ending" if self._over else "stopping after this step"
        exits.say(f"{self.asked}: {what}; a second signal exits at once", sys.stderr)

    def _agree(self, job: "Coordination") -> None:
        """Wait until a process was asked to stop, then agree on where."""
        import jax

        try:
            asked = job.get(KEY)
            if asked == OVER:
                return
            self.asked = asked
            with self._lock:
                job.publish(POLLS, str(self._polls))
                job.barrier("meshloom/stop-published", AGREE)
                latest = max(map(int, job.published(POLLS)))
                if latest == 0:
                    exits.claim_end()
                # The coordinator's process must not be gone before the others have read.
                job.barrier("meshloom/stop-read", AGREE)
                self._stop_at = latest + 1
        except jax.errors.JaxRuntimeError as error:
            exits.claim_end()
            text = f"error: the processes could not agree where to stop: {error}"
            exits.say(text, sys.stderr)
            exits.leave(UNEXPECTED, "no agreement where to stop")
        if latest == 0:
            if job.is_first:
                time.sleep(0.5)  # its end ends the others, which are leaving now by themselves
            self._leave_before_first_step()

    def hint(self) -> str:
        """How to continue, to be appended to the message that it stopped."""
        return f"; to continue: {self.resume_command}" if self.resume_command else ""

    def _leave_before_first_step(self) -> NoReturn:
        exits.claim_end()
        if self._job is None or self._job.is_first:
            text = f"stopped by {self.asked} before the first step: nothing to save{self.hint()}"
            exits.say(text, sys.stdout)
        exits.leave(STOPPED, f"stopped by {self.asked} before a step")
