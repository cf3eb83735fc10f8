"""How a process ends: at once or not, by which thread, and with which message."""

import contextlib
import errno
import faulthandler
import functools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn, TextIO

from data import system
from data.errors import UserError
from launch.exit_codes import HUNG, REFUSED, UNEXPECTED

THREADS = "meshloom"
"""What the names of this program's threads begin with."""
PEERS_REPORT = 1.0  # seconds until peers have said how they hang; the end of one ends the others
PEERS_REFUSE = 20  # seconds until peers have refused what one of them refuses
PEER_ENDED = ("by peer", "Broken pipe", "remote process exited")
"""Parts of what JAX says when a connection of a collective is gone: by gloo, and by NCCL
(github.com/jax-ml/jax/issues/19307)."""
REPORT_SECONDS = 1.0  # that a disk which stands still may delay the end

_ending = threading.RLock()
_program = threading.Event()

on_end: list[Callable[[str], None]] = []
"""They are called with the reason if the process ends at once."""


def claim_end() -> None:
    """From here on this thread alone may end the process; any other that wants to stands still."""
    _ending.acquire()


def leave(code: int, why: str = "") -> NoReturn:
    """End the process, whose only end this is from here on: nothing is closed.

    `why` goes to those in `on_end`; one that waits for a disk is left alone. Peers are waited for
    if they may be about to end in the same way.
    """
    claim_end()
    for report in on_end if why else ():
        with contextlib.suppress(RuntimeError):  # no thread starts when Python itself is ending
            start_thread(functools.partial(report, why), "report").join(REPORT_SECONDS)
    for stream in sys.stdout, sys.stderr:
        say("", stream, end="")
    if code == HUNG:
        time.sleep(PEERS_REPORT)  # they hang in the same step
    if code == REFUSED and _has_peers():
        _leave_job()
    os._exit(code)


def _leave_job() -> None:
    """Disconnect from the peers, if all do: JAX aborts a process that loses its coordinator, which
    is process 0, and then its exit code is not that of a refusal."""
    from launch.process.distributed import shutdown

    def disconnect() -> None:
        with contextlib.suppress(Exception):  # a peer has ended in another way
            shutdown(PEERS_REFUSE)

    start_thread(disconnect, "leaving").join(PEERS_REFUSE)


def say(text: str, stream: TextIO, end: str = "\n") -> None:
    """Print and flush; nothing, if the reader has gone."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=stream, end=end, flush=True)


def fail(error: BaseException) -> NoReturn:
    """Print the exception that is being handled, with its traceback unless it is a user's mistake,
    and leave."""
    claim_end()
    # A file that is gone may be one that a peer just moves: to start again may help.
    gone = isinstance(error, OSError) and error.errno == errno.ENOENT
    message = None if gone else user_message(error)
    with contextlib.suppress(OSError, ValueError):
        if message is None:
            traceback.print_exc()
        else:
            print_error(message)
    leave(UNEXPECTED if message is None else REFUSED, summary(error))


def leave_hung(where: str, what: str) -> NoReturn:
    """Print what hangs and what every thread is doing, and leave."""
    claim_end()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"hung: {where}: {what}; stacks of all threads:\n")
        sys.stderr.flush()
        faulthandler.dump_traceback()
    leave(HUNG, f"hung: {what}")


@contextlib.contextmanager
def leaving_on_error() -> Iterator[None]:
    """Within, an unexpected exception ends the process at once, unless it is a Python program of
    the user's and the only process of its job.

    Put it inside of all that closes things: in a job of several processes, closing waits for the
    others, and they wait for this one. A UserError passes, and so does a broken pipe; a full disk
    and its like end the process too, as refused.
    """
    try:
        yield
    except BaseException as error:
        expected = isinstance(error, UserError | BrokenPipeError)
        if expected or not (is_program() or _has_peers()):
            raise
        fail(error)


def is_program() -> bool:
    """Whether this process runs a command line of ours, and no code of a user's."""
    return _program.is_set()


def set_program() -> None:
    """From here on this process runs a command line of ours."""
    _program.set()


def _has_peers() -> bool:
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def summary(error: BaseException) -> str:
    """An exception in one line; it begins with its cause if that is the end of a peer."""
    name = type(error).__name__
    text = " ".join(f"{name}: {error}".split())
    broken = name == "JaxRuntimeError" and any(sign in text for sign in PEER_ENDED)
    return f"a peer ended: {text}" if broken else text


def user_message(error: BaseException) -> str | None:
    """What the user must do something about, in words; None for an unexpected exception, or if it
    may not come again."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and system.lasts(error):
        return system.refusal(error)
    if isinstance(error, MemoryError):
        return (
            "memory must suffice for what was asked, because it is taken at once, but "
            f"{system.said(error)}; try smaller numbers, or a machine with more"
        )
    return None


def print_error(text: str) -> None:
    """Write an error to stderr, in red on a terminal."""
    if sys.stderr is not None:
        red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() else ("", "")
        sys.stderr.write(f"{red}error:{plain} {text}\n")
        sys.stderr.flush()


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """A daemon thread that has started; after `leave_on_thread_errors` its errors end the
    process."""
    thread = threading.Thread(target=target, name=f"{THREADS} {name}", daemon=True)
    thread.start()
    return thread


def leave_on_thread_errors() -> None:
    """From here on an exception in a thread of this program ends the process, as in the main
    thread."""
    other = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        with contextlib.suppress(OSError, ValueError):
            other(failure)
        if failure.thread is not None and failure.thread.name.startswith(THREADS):
            error = failure.exc_value
            leave(UNEXPECTED, summary(error) if error else failure.exc_type.__name__)

    threading.excepthook = hook
