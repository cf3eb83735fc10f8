import errno
import subprocess
import sys

import pytest

from launch import exit_codes
from launch.process import exits
from tests.command import ROOT


def end_of(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("raise KeyError('lost')", "KeyError: 'lost'"),
        ("int('x')", "ValueError: invalid literal"),
        ("sys.exit(0)", "SystemExit: 0"),
    ],
)
def test_an_unexpected_exception_ends_the_process_before_anything_is_closed(
    statement: str, said: str
) -> None:
    done = end_of(
        "import contextlib, sys, threading\n"
        "from launch.process import exits\n"
        "exits.set_program()\nexits.on_end.append(print)\n"
        "with contextlib.ExitStack() as closing, exits.leaving_on_error():\n"
        "    closing.callback(threading.Event().wait)\n"
        f"    {statement}\n"
    )
    assert done.returncode == exit_codes.UNEXPECTED
    assert "Traceback" in done.stderr and said in done.stderr
    assert said in done.stdout and "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, exit_codes.REFUSED),
        (errno.EROFS, exit_codes.REFUSED),
        (errno.ENOENT, exit_codes.UNEXPECTED),
        (errno.EIO, exit_codes.UNEXPECTED),
    ],
)
def test_a_lasting_refusal_of_a_disk_ends_the_process_as_refused(number: int, code: int) -> None:
    done = end_of(
        "import contextlib, os, threading\n"
        "from launch.process import exits\n"
        "exits.set_program()\nexits.on_end.append(print)\n"
        "with contextlib.ExitStack() as closing, exits.leaving_on_error():\n"
        "    closing.callback(threading.Event().wait)\n"
        f"    raise OSError({number}, os.strerror({number}), '/a/file')\n"
    )
    assert done.returncode == code
    assert ("error: /a/file must be usable" in done.stderr) == (code == exit_codes.REFUSED)
    assert ("Traceback" in done.stderr) == (code == exit_codes.UNEXPECTED)
    assert "/a/file" in done.stdout


def test_a_user_error_closes_everything_first() -> None:
    from data.config import DataConfig

    closed: list[bool] = []
    with pytest.raises(ValueError, match="must name at least one corpus"):
        try:
            with exits.leaving_on_error():
                DataConfig(sources=())
        finally:
            closed.append(True)
    assert closed


@pytest.mark.parametrize(("name", "code"), [("meshloom feed", exit_codes.UNEXPECTED), ("other", 0)])
def test_an_exception_in_an_own_thread_ends_the_process(name: str, code: int) -> None:
    done = end_of(
        "import threading\n"
        "from launch.process import exits\n"
        "exits.leave_on_thread_errors()\n"
        "exits.on_end.append(print)\n"
        f"thread = threading.Thread(target=lambda: 1 / 0, name={name!r})\n"
        "thread.start(); thread.join()\n"
    )
    assert done.returncode == code
    assert "ZeroDivisionError" in done.stderr
    assert done.stdout == ("ZeroDivisionError: division by zero\n" if code else "")


def test_a_report_that_never_returns_does_not_delay_the_end() -> None:
    done = end_of(
        "import threading\n"
        "from launch.process import exits\n"
        "exits.REPORT_SECONDS = 0.1\n"
        "exits.on_end += [lambda why: threading.Event().wait(), print]\n"
        "exits.leave_hung('process 0', 'a save')\n"
    )
    assert (done.returncode, done.stdout) == (exit_codes.HUNG, "hung: a save\n")
    assert done.stderr.startswith("hung: process 0: a save; stacks of all threads:")


def test_a_program_of_the_user_gets_the_exception() -> None:
    done = end_of(
        "from launch.process import exits\n"
        "try:\n"
        "    with exits.leaving_on_error():\n"
        "        raise KeyError('theirs')\n"
        "except KeyError as error:\n"
        "    print('got', error)\n"
    )
    assert (done.returncode, done.stdout) == (0, "got 'theirs'\n")


def test_only_the_first_thread_ends_the_process() -> None:
    done = end_of(
        "import threading\n"
        "from launch.process import exits\n"
        "exits.set_program()\n"
        "exits.claim_end()\n"
        "def other():\n"
        "    with exits.leaving_on_error():\n"
        "        began.set(); raise KeyError('a peer is gone')\n"
        "began = threading.Event()\n"
        "threading.Thread(target=other, daemon=True).start()\n"
        "began.wait(); exits.leave(75)\n"
    )
    assert (done.returncode, done.stderr) == (exit_codes.STOPPED, "")


@pytest.mark.parametrize(
    ("said", "by_peer"),
    [
        ("UNKNOWN: Gloo AllReduce failed: pair.cc: Connection closed by peer", True),
        ("INTERNAL: NCCL operation async_err failed: remote process exited or there was a", True),
        ("RESOURCE_EXHAUSTED: Out of memory", False),
    ],
)
def test_the_end_of_a_peer_is_named_first(said: str, by_peer: bool) -> None:
    from jax.errors import JaxRuntimeError

    prefix = "a peer ended: " if by_peer else ""
    assert exits.summary(JaxRuntimeError(said)) == f"{prefix}JaxRuntimeError: {said}"
