"""The command `meshloom`: runs a command of the table, and reports errors and exit codes."""

import io
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from launch import exit_codes
from launch.checkout import require_own_packages
from launch.commands import table
from launch.process import exits
from launch.schema.command_line import UsageError


def program(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line as a process of its own, and end it with `main`'s exit code.

    After a failure it ends at once if jax runs: it would wait for its peers, and threads of other
    libraries would decide the exit code.
    """
    from launch.process.runtime import die_with_launcher

    exits.set_program()
    _open_streams()
    die_with_launcher()
    exits.leave_on_thread_errors()
    code = main(argv)
    if code and "jax" in sys.modules:
        exits.leave(code)
    sys.exit(code)


def _open_streams() -> None:
    """Let stdout and stderr take any text, whatever their encoding: what it lacks is written as
    `\\xe4`. Streams that are closed lead nowhere, so that no file takes their place."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        if number:
            setattr(sys, ("stdout", "stderr")[number - 1], open(number, "w", encoding="utf-8"))
    os.close(number)
    for stream in sys.stdout, sys.stderr:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code, one of `launch.exit_codes`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()  # a full disk is reported here, and not when Python ends
    except UsageError as error:
        exits.print_error(str(error))
        return exit_codes.USAGE
    except KeyboardInterrupt:
        exits.print_error("interrupted")
        return 130
    except BrokenPipeError:
        # The reader of our output, such as `head`, has gone: nothing more can be said.
        _forget_output()
        return 141
    except Exception as error:
        message = exits.user_message(error)
        if message is None:
            traceback.print_exc()
            return exit_codes.UNEXPECTED
        exits.print_error(message)
        try:
            sys.stdout.flush()
        except OSError:
            _forget_output()  # else Python tries again when it ends, with a code of its own
        return exit_codes.REFUSED


def _forget_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        from launch.run.environment import versions

        for name, version in {**versions(), "python": platform.python_version()}.items():
            print(f"{name} {version}")
        return 0
    table.require_command(arguments[0])
    require_own_packages()
    return table.run(arguments[0], arguments[1:])


def _overview() -> str:
    width = max(map(len, table.COMMANDS)) + 2
    lines = [f"  {name:<{width}}{command.summary}" for name, command in table.COMMANDS.items()]
    return "\n".join(
        [
            "usage: meshloom COMMAND ...",
            "",
            "Train Transformers of any size on any mesh of accelerators.",
            "",
            *lines,
            "",
            "`meshloom COMMAND --help` documents every flag of a command;",
            "`meshloom --version` lists the versions of the packages it runs on.",
        ]
    )
