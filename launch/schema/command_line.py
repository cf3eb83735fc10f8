"""The words of a command line: parsed, split at the command that follows, or not understood."""

import contextlib
import dataclasses
import difflib
import io
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

from data.errors import UserError
from launch.exit_codes import USAGE

Options = TypeVar("Options")
HELP = {"-h", "--help"}


class UsageError(Exception):
    """A command line that names no command or preset of ours."""


def unknown(program: str, word: str, known: Iterable[str]) -> UsageError:
    """The error of a `word` that is none of the commands `known`; it names the nearest."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.4) or names
    return UsageError(f"{program} has no command {word!r}; try {' or '.join(near)}")


def split_command(arguments: list[str], options: type) -> tuple[list[str], list[str]]:
    """The launcher's own flags, and the command that begins at the first word that is none, or at
    `--config`, which stands in place of a preset."""
    switches = {f.name for f in dataclasses.fields(options) if f.type is bool} | {"help"}
    here = 0
    while (
        here < len(arguments) and arguments[here].startswith("-") and arguments[here] != "--config"
    ):
        name = arguments[here].lstrip("-").removeprefix("no-").replace("-", "_")
        alone = "=" in arguments[here] or arguments[here] == "-h" or name in switches
        here += 1 if alone else 2
    return arguments[:here], arguments[here:]


def parse(kind: type[Options], arguments: list[str], *, prog: str, **settings: Any) -> Options:
    """The dataclass `kind` of the arguments.

    Raises UsageError for values that cannot be, and numbers beyond the bounds that their options
    declare; exits as the parser does where it does not understand a word.
    """
    import tyro

    from launch.schema import bounds

    if wants_help(arguments):
        _join_lines(kind, settings.get("default"))
    refusals = io.StringIO()
    try:
        # What refuses its values would be shown in a frame, which breaks words.
        with contextlib.redirect_stderr(refusals):
            options = tyro.cli(kind, args=arguments, prog=prog, **settings)
        if isinstance(kind, type):
            bounds.require(options)
        return options
    except SystemExit as end:
        refused = _refused(end)
        if refused is None:
            sys.stderr.write(refusals.getvalue())
            raise
    except UserError as error:
        refused = error
    if isinstance(refused, bounds.OutOfBounds):
        refused = refused.with_usual(settings.get("default"))
    raise UsageError(str(refused)) from refused


def parse_known(kind: type[Options], arguments: list[str], *, prog: str) -> Options:
    """The dataclass `kind` of those arguments that it has; the others, help too, are for a parser
    that needs to know these first."""
    import tyro

    words = [word for word in arguments if word not in HELP]
    return tyro.cli(kind, args=words, prog=prog, return_unknown_args=True, add_help=False)[0]


def wants_help(arguments: Iterable[str]) -> bool:
    return not HELP.isdisjoint(arguments)


def parse_call(
    command: Callable[..., Options], arguments: list[str], *, prog: str
) -> Callable[[], Options]:
    """The call of the function `command` with the arguments; raises and exits as `parse` does."""
    from launch.schema import bounds

    if wants_help(arguments):
        _join_lines(command)
    checked: Any = bounds.call_of(command)
    return parse(checked, arguments, prog=prog)


def _refused(end: SystemExit) -> UserError | None:
    """The error of ours for which the parser exits."""
    cause = end.__context__
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__context__
    return cause


def _join_lines(kind: Any, usual: Any = None) -> None:
    """Give the parser the docstring of every field as one paragraph: it breaks help where a line of
    the docstring ended, if the next one is indented."""
    from launch.schema.fields import class_of, documentation

    if dataclasses.is_dataclass(kind):
        paragraphs = documentation(kind)
        for field in dataclasses.fields(kind):
            help = paragraphs.get(field.name)
            field.metadata = MappingProxyType({**field.metadata, "help": help})
    for name, part in get_type_hints(kind).items():
        if isinstance(part, type) and dataclasses.is_dataclass(part):
            value = getattr(usual, name, None)
            _join_lines(class_of(part, value), value)


def value_of(flag: str, arguments: list[str]) -> str | None:
    """The value of a flag that must be known before the parser can be built."""
    for index, argument in enumerate(arguments):
        if argument.startswith(flag + "="):
            return argument.removeprefix(flag + "=")
        if argument == flag and index + 1 < len(arguments):
            return arguments[index + 1]
    return None


def run_subcommand(
    commands: Mapping[str, Callable[..., Options]], arguments: list[str], *, prog: str, about: str
) -> Options:
    """Run the command that the first word names, with flags for the parameters of its function.
    Without one, or for help, the parser lists them and exits."""
    import tyro

    if not arguments or arguments[0] in ("-h", "--help"):
        return tyro.extras.subcommand_cli_from_dict(
            dict(commands), args=arguments, prog=prog, description=about
        )
    if arguments[0] not in commands:
        raise unknown(prog, arguments[0], commands)
    return parse_call(commands[arguments[0]], arguments[1:], prog=f"{prog} {arguments[0]}")()


def run_module(command: Callable[..., object], module: str) -> None:
    """Run `python -m MODULE` as the signature of `command` says its flags; exits with 2 if they
    cannot be."""
    try:
        call = parse_call(command, sys.argv[1:], prog=f"python -m {module}")
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USAGE)
    call()
