"""One command line in a forked process of its own: its exit code and all that it wrote."""

import faulthandler
import io
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.modes import obey_modes


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What surrounds a command: variables (None unsets), limits, streams, and who runs it."""

    variables: Mapping[str, str | None] = field(default_factory=dict)
    limits: Mapping[int, int] = field(default_factory=dict)
    encoding: str = "utf-8"
    stdout: str = "pipe"
    """`pipe`, `full` (a full disk), `closed`, or `gone` (a pipe that has no reader)."""
    sealed: bool = False
    """Modes of files are obeyed, by root too, and the working directory is for reading alone."""
    without_directory: bool = False
    """The working directory is deleted first."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The exit code (-9 for one that hung) and the text of both streams."""

    code: int
    out: str
    err: str


def run(argv: list[str], folder: Path, setting: Setting, patience: float) -> Ending:
    """Run `meshloom ARGV` in the folder, as `launch.cli.program` runs it."""
    return _forked(lambda: _program(argv, folder, setting, patience), setting, patience)


def _forked(act: Callable[[], None], setting: Setting, patience: float) -> Ending:
    out, err = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            streams = (
                {"full": os.open("/dev/full", os.O_WRONLY)} if setting.stdout == "full" else {}
            )
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(streams.get(setting.stdout, out[1]), 1)
            os.dup2(err[1], 2)
            os.closerange(3, 256)
            if setting.stdout == "gone":
                _, writer = os.pipe()
                os.dup2(writer, 1)
                os.closerange(3, 16)
            act()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            try:
                for stream in sys.stdout, sys.stderr:
                    stream.flush()
            except (OSError, AttributeError):
                code = 120  # as Python itself ends then
            os._exit(code)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(99)
        os._exit(0)
    os.close(out[1])
    os.close(err[1])
    texts = _read([out[0], err[0]], time.monotonic() + patience)
    done, status = os.waitpid(pid, os.WNOHANG)
    until = time.monotonic() + 5
    while not done and time.monotonic() < until and texts[2]:
        time.sleep(0.002)
        done, status = os.waitpid(pid, os.WNOHANG)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if not done:
        _, status = os.waitpid(pid, 0)
    return Ending(code=os.waitstatus_to_exitcode(status), out=str(texts[0]), err=str(texts[1]))


def _read(ends: list[int], until: float) -> tuple[str, str, bool]:
    """What comes from both pipes, and whether it ended in time."""
    parts: dict[int, list[bytes]] = {end: [] for end in ends}
    open_ends = set(ends)
    while open_ends and (left := until - time.monotonic()) > 0:
        for end in select.select(list(open_ends), [], [], left)[0]:
            if content := os.read(end, 1 << 16):
                parts[end].append(content)
            else:
                open_ends.remove(end)
    for end in ends:
        os.close(end)
    first, second = (b"".join(parts[end]).decode(errors="backslashreplace") for end in ends)
    return first, second, not open_ends


def _program(argv: list[str], folder: Path, setting: Setting, patience: float) -> None:
    from launch.cli import program

    os.chdir(folder)
    for name, value in setting.variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), encoding=setting.encoding)
    sys.stderr = io.TextIOWrapper(
        open(2, "wb", closefd=False), encoding=setting.encoding, errors="backslashreplace"
    )
    sys.argv = ["meshloom", *argv]
    if setting.stdout == "closed":
        sys.stdout = None
        os.close(1)
    if setting.without_directory:
        gone = folder / "gone"
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
    faulthandler.dump_traceback_later(patience * 0.9, file=2)
    for limit, value in setting.limits.items():
        resource.setrlimit(limit, (value, value))
    if setting.sealed:
        folder.chmod(0o555)
        obey_modes()
    program(argv)
