"""Stop on a signal: after the step under way, at the same one on every process, and saved.

The first SIGTERM, SIGINT or SIGUSR1 asks for it, the next ends the process at once. A thread reads
the signals, since Python runs no handler while the main thread compiles or waits for a step.
"""

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from data.errors import UserError
from launch.process import exits

if TYPE_CHECKING:
    from train.processes import Coordination

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
SAME = 1.0  # seconds: a scheduler and a launcher may both pass on what is one signal
AGREE = 20  # seconds for all processes to answer
TOGETHER = 1800  # seconds for the slowest to write what it has to write at the end
KEY, POLLS = "meshloom/stop", "meshloom/stop-polls"
OVER = "over"


class Stop:
    """Whether to stop, asked before every step by `reached`, which is local and costs nothing.

    Several processes agree through the coordinator's key-value store: each tells how often it has
    asked `reached` so far and answers no further question until all have told; the answer is yes
    at the question after the latest. All ask the same questions in the same order.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        """The signal's name once one has come to any process."""
        self.to_go_on: str | None = None
        """The command that goes on with this run, once that is known."""
        self._lock = threading.Lock()
        self._polls = 0
        self._stop_at: int | None = None
        self._over = False
        self._job: Coordination | None = None
        self._agreement: threading.Thread | None = None
        self._heard_at: float | None = None
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
        self._thread(self._hear, "signals")

    def agree_over(self, job: "Coordination | None") -> None:
        """From here on a stop is agreed upon with the other processes of `job`, if there are."""
        self._job = job
        if job is None:
            return
        self._agreement = self._thread(lambda: self._agree(job), "stop")

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
        """Leave signals to whoever had them before, for a program that goes on after a run."""
        signal.set_wakeup_fd(self._woken_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self) -> None:
        while True:
            for number in self._read_end.recv(64):
                if number in SIGNALS:
                    self._take(signal.Signals(number))

    def _take(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if self._heard_at is not None:
            if now - self._heard_at >= SAME:
                exits.take_last_word()
                exits.tell_end(f"ended by a second signal, {number.name}")
                exits.leave(128 + number)
            return
        self._heard_at = now
        self.asked = number.name
        if self._job is not None:
            # In a thread of its own, so that a coordinator that hangs keeps no second signal away.
            job = self._job
            if not self._over:
                self._thread(lambda: job.set(KEY, number.name), "asks")
            self._tell_when()
            return
        with self._lock:
            if self._polls == 0 and not self._over:
                exits.take_last_word()
                self._leave_before_first_step()
            self._stop_at = self._polls + 1
        self._tell_when()

    def _tell_when(self) -> None:
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
                job.barrier("meshloom/stop-told", AGREE)
                latest = max(map(int, job.published(POLLS)))
                if latest == 0:
                    exits.take_last_word()
                # The coordinator's process must not be gone before the others have read.
                job.barrier("meshloom/stop-read", AGREE)
                self._stop_at = latest + 1
        except jax.errors.JaxRuntimeError as error:
            exits.take_last_word()
            text = f"error: the processes could not agree where to stop: {error}"
            exits.say(text, sys.stderr)
            exits.tell_end("no agreement where to stop")
            exits.leave(exits.UNEXPECTED)
        if latest == 0:
            if job.is_first:
                time.sleep(0.5)  # its end ends the others, who leave now by themselves
            self._leave_before_first_step()

    def way_on(self) -> str:
        """What is appended to the word that it stopped."""
        return f"; to go on: {self.to_go_on}" if self.to_go_on else ""

    def _leave_before_first_step(self) -> NoReturn:
        if self._job is None or self._job.is_first:
            text = f"stopped by {self.asked} before a step was made: nothing to save{self.way_on()}"
            exits.say(text, sys.stdout)
        exits.tell_end(f"stopped by {self.asked} before a step")
        exits.leave(exits.STOPPED)

    def _thread(self, target: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=target, name=f"{exits.OWN_THREADS} {name}", daemon=True)
        thread.start()
        return thread
