"""The commands a user types to go on: by the program he started, and through its launcher."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.run.directory import near

PROGRAM, LAUNCHER = "MESHLOOM_TYPED_PROGRAM", "MESHLOOM_TYPED_LAUNCHER"


def program() -> list[str]:
    """How the program was started, if need be by the launcher of this process."""
    if PROGRAM in os.environ:
        return shlex.split(os.environ[PROGRAM])
    started = Path(sys.argv[0])
    if started.name == "meshloom":
        return [near(started.absolute())]
    return ["python", "-m", "launch"]


def launched() -> bool:
    """Whether a launcher of this machine watches over this process, and tells how it ends."""
    return LAUNCHER in os.environ


def train(run: Path) -> str:
    """The command that goes on with a run, on as many processes as now."""
    launcher = shlex.split(os.environ.get(LAUNCHER, ""))
    return shlex.join([*program(), *launcher, "train", "--run-dir", near(run), "--resume"])


def told_to_processes(launcher: Sequence[str]) -> dict[str, str]:
    """Environment variables for processes that these words of the program's have started."""
    return {PROGRAM: shlex.join(program()), LAUNCHER: shlex.join(launcher)}
