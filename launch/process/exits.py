"""How a process ends: its exit codes, and who has the last word when several threads want it."""

import contextlib
import errno
import faulthandler
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TextIO

from data import system
from data.errors import UserError

DONE = 0
REFUSED = 1
"""Bad input, or an end of our own with a message: starting again does not help."""
USAGE = 2
UNEXPECTED = 70
"""An exception nobody foresaw; also that a peer died."""
STOPPED = 75
"""Stopped by a signal, saved: resume me."""
HUNG = 76
"""Taken as hung by the watchdog: resume me."""

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("model", "data", "train", "launch")
OWN_THREADS = "meshloom"
"""The names of our threads begin so."""

PEERS_TELL = 1.0  # seconds
PEER_ENDED = ("by peer", "Broken pipe", "remote process exited")
"""Parts of what JAX says when a connection of a collective is gone: by gloo, and by NCCL
(github.com/jax-ml/jax/issues/19307)."""
HEARD = 1.0  # seconds that a disk which stands still may take of the end

_last_word = threading.RLock()
_program = threading.Event()

hear_end: list[Callable[[str], None]] = []
"""These are told how the process ends, if it ends at once."""


def take_last_word() -> None:
    """From here on this thread alone may end the process; any other that wants to stands still."""
    _last_word.acquire()


def tell_end(why: str) -> None:
    """Tell those in `hear_end`, after `take_last_word`; one that waits for a disk is left alone."""
    for hear in hear_end:
        hearing = threading.Thread(target=hear, args=(why,), daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread begins when Python itself is ending
            hearing.start()
            hearing.join(HEARD)


def leave(code: int) -> NoReturn:
    """End the process at once, after `take_last_word`: nothing is closed, no peer is waited for."""
    for stream in sys.stdout, sys.stderr:
        say("", stream, end="")
    os._exit(code)


def say(text: str, stream: TextIO, end: str = "\n") -> None:
    """Print and flush; nothing, if nobody reads it any more."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=stream, end=end, flush=True)


def fail(error: BaseException) -> NoReturn:
    """Tell the exception that is being handled, with its traceback if it is none for the user, and
    leave."""
    take_last_word()
    # A file that is gone may be one that a peer just moves: to start again may help.
    gone = isinstance(error, OSError) and error.errno == errno.ENOENT
    message = None if gone else for_user(error)
    with contextlib.suppress(OSError, ValueError):
        if message is None:
            traceback.print_exc()
        else:
            complain(message)
    tell_end(in_short(error))
    leave(UNEXPECTED if message is None else REFUSED)


def hang(where: str, what: str) -> NoReturn:
    """Tell what hangs and what every thread is doing, and leave."""
    take_last_word()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"hung: {where}: {what}; stacks of all threads:\n")
        sys.stderr.flush()
        faulthandler.dump_traceback()
    tell_end(f"hung: {what}")
    # Peers hang in the same step: let them tell as much before this end ends them.
    time.sleep(PEERS_TELL)
    leave(HUNG)


@contextlib.contextmanager
def failing_fast() -> Iterator[None]:
    """Within, an exception that nobody foresaw ends the process at once, unless it is a Python
    program of the user's and the only process of its job.

    Put it inside of all that closes things: in a job of several processes, closing waits for the
    others, and they wait for this one. A UserError passes, and so does a
    broken pipe; a full disk and its like end the process too, as refused.
    """
    try:
        yield
    except BaseException as error:
        foreseen = isinstance(error, UserError | BrokenPipeError)
        if foreseen or not (is_program() or _has_peers()):
            raise
        fail(error)


def is_program() -> bool:
    """Whether this process runs a command line of ours, and nothing of others."""
    return _program.is_set()


def be_program() -> None:
    """From here on this process runs a command line of ours."""
    _program.set()


def _has_peers() -> bool:
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def in_short(error: BaseException) -> str:
    """An exception in one line; it begins with its cause if that is the end of a peer."""
    name = type(error).__name__
    text = " ".join(f"{name}: {error}".split())
    broken = name == "JaxRuntimeError" and any(sign in text for sign in PEER_ENDED)
    return f"a peer ended: {text}" if broken else text


def for_user(error: BaseException) -> str | None:
    """What the user must do something about, in words; None if nobody foresaw the exception, or if
    it may not come again."""
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


def complain(text: str) -> None:
    """Write an error to stderr, in red on a terminal."""
    if sys.stderr is not None:
        red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() else ("", "")
        sys.stderr.write(f"{red}error:{plain} {text}\n")
        sys.stderr.flush()


def watch_threads() -> None:
    """From here on an exception in a thread of ours ends the process, as in the main thread."""
    other = threading.excepthook

    def hook(told: threading.ExceptHookArgs) -> None:
        with contextlib.suppress(OSError, ValueError):
            other(told)
        if told.thread is not None and told.thread.name.startswith(OWN_THREADS):
            take_last_word()
            tell_end(in_short(told.exc_value) if told.exc_value else told.exc_type.__name__)
            leave(UNEXPECTED)

    threading.excepthook = hook
