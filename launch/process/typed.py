"""Commands and paths as a user would type them, also if a launcher started this process."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

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
    """Whether a launcher of this machine watches over this process, and reports how it ends."""
    return LAUNCHER in os.environ


def train(run: Path) -> str:
    """The command that continues a run, on as many processes as now."""
    launcher = shlex.split(os.environ.get(LAUNCHER, ""))
    return shlex.join([*program(), *launcher, "train", "--run-dir", near(run), "--resume"])


def variables(launcher: Sequence[str]) -> dict[str, str]:
    """Environment variables for processes that these words of the program have started."""
    return {PROGRAM: shlex.join(program()), LAUNCHER: shlex.join(launcher)}


def near(path: Path) -> str:
    """`path` relative to the working directory if it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
