import errno
import subprocess
import sys

import pytest

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
def test_what_nobody_foresaw_ends_the_process_before_anything_is_closed(
    statement: str, said: str
) -> None:
    done = end_of(
        "import contextlib, sys, threading\n"
        "from launch.process import exits\n"
        "exits.be_program()\nexits.hear_end.append(print)\n"
        "with contextlib.ExitStack() as closing, exits.failing_fast():\n"
        "    closing.callback(threading.Event().wait)\n"
        f"    {statement}\n"
    )
    assert done.returncode == exits.UNEXPECTED
    assert "Traceback" in done.stderr and said in done.stderr
    assert said in done.stdout and "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, exits.REFUSED),
        (errno.EROFS, exits.REFUSED),
        (errno.ENOENT, exits.UNEXPECTED),
        (errno.EIO, exits.UNEXPECTED),
    ],
)
def test_a_disk_that_says_the_same_again_ends_the_process_as_refused(
    number: int, code: int
) -> None:
    done = end_of(
        "import contextlib, os, threading\n"
        "from launch.process import exits\n"
        "exits.be_program()\nexits.hear_end.append(print)\n"
        "with contextlib.ExitStack() as closing, exits.failing_fast():\n"
        "    closing.callback(threading.Event().wait)\n"
        f"    raise OSError({number}, os.strerror({number}), '/a/file')\n"
    )
    assert done.returncode == code
    assert ("error: /a/file must be usable" in done.stderr) == (code == exits.REFUSED)
    assert ("Traceback" in done.stderr) == (code == exits.UNEXPECTED)
    assert "/a/file" in done.stdout


def test_our_own_refusal_closes_first() -> None:
    from data.config import DataConfig

    closed: list[bool] = []
    with pytest.raises(ValueError, match="must name at least one corpus"):
        try:
            with exits.failing_fast():
                DataConfig(sources=())
        finally:
            closed.append(True)
    assert closed


@pytest.mark.parametrize(("name", "code"), [("meshloom feed", exits.UNEXPECTED), ("other", 0)])
def test_an_exception_in_a_thread_of_ours_ends_the_process(name: str, code: int) -> None:
    done = end_of(
        "import threading\n"
        "from launch.process import exits\n"
        "exits.watch_threads()\n"
        "exits.hear_end.append(print)\n"
        f"thread = threading.Thread(target=lambda: 1 / 0, name={name!r})\n"
        "thread.start(); thread.join()\n"
    )
    assert done.returncode == code
    assert "ZeroDivisionError" in done.stderr
    assert done.stdout == ("ZeroDivisionError: division by zero\n" if code else "")


def test_one_that_never_hears_of_the_end_does_not_put_it_off() -> None:
    done = end_of(
        "import threading\n"
        "from launch.process import exits\n"
        "exits.HEARD = 0.1\n"
        "exits.hear_end += [lambda why: threading.Event().wait(), print]\n"
        "exits.hang('process 0', 'a save')\n"
    )
    assert (done.returncode, done.stdout) == (exits.HUNG, "hung: a save\n")
    assert done.stderr.startswith("hung: process 0: a save; stacks of all threads:")


def test_a_program_of_the_users_own_gets_the_exception() -> None:
    done = end_of(
        "from launch.process import exits\n"
        "try:\n"
        "    with exits.failing_fast():\n"
        "        raise KeyError('theirs')\n"
        "except KeyError as error:\n"
        "    print('got', error)\n"
    )
    assert (done.returncode, done.stdout) == (0, "got 'theirs'\n")


def test_only_one_thread_has_the_last_word() -> None:
    done = end_of(
        "import threading\n"
        "from launch.process import exits\n"
        "exits.be_program()\n"
        "exits.take_last_word()\n"
        "def other():\n"
        "    with exits.failing_fast():\n"
        "        began.set(); raise KeyError('a peer is gone')\n"
        "began = threading.Event()\n"
        "threading.Thread(target=other, daemon=True).start()\n"
        "began.wait(); exits.leave(exits.STOPPED)\n"
    )
    assert (done.returncode, done.stderr) == (exits.STOPPED, "")


@pytest.mark.parametrize(
    ("said", "by_peer"),
    [
        ("UNKNOWN: Gloo AllReduce failed: pair.cc: Connection closed by peer", True),
        ("INTERNAL: NCCL operation async_err failed: remote process exited or there was a", True),
        ("RESOURCE_EXHAUSTED: Out of memory", False),
    ],
)
def test_the_end_of_a_peer_is_told_first(said: str, by_peer: bool) -> None:
    from jax.errors import JaxRuntimeError

    prefix = "a peer ended: " if by_peer else ""
    assert exits.in_short(JaxRuntimeError(said)) == f"{prefix}JaxRuntimeError: {said}"
