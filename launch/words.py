"""The words of a command line: parsed, split at the command that follows, or not understood."""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

Options = TypeVar("Options")


class UsageError(Exception):
    """A command line that names no command or preset of ours."""


def unknown(program: str, word: str, known: Iterable[str]) -> UsageError:
    """The error of a `word` that is none of the commands `known`; it names the nearest."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.4) or names
    return UsageError(f"{program} has no command {word!r}; try {' or '.join(near)}")


def split_command(arguments: list[str], options: type) -> tuple[list[str], list[str]]:
    """The launcher's own flags, and the command that begins at the first word that is none."""
    switches = {f.name for f in dataclasses.fields(options) if f.type is bool} | {"help"}
    here = 0
    while here < len(arguments) and arguments[here].startswith("-"):
        name = arguments[here].lstrip("-").removeprefix("no-").replace("-", "_")
        alone = "=" in arguments[here] or arguments[here] == "-h" or name in switches
        here += 1 if alone else 2
    return arguments[:here], arguments[here:]


def parse(
    kind: Callable[..., Options], arguments: list[str], *, prog: str, **settings: Any
) -> Options:
    import tyro

    if {"-h", "--help"} & set(arguments):
        _join_lines(kind)
    return tyro.cli(kind, args=arguments, prog=prog, **settings)


def _join_lines(kind: Any) -> None:
    """Give the parser the docstring of every field as one paragraph: it breaks help where a line of
    the docstring ended, if the next one is indented."""
    import docstring_parser

    if dataclasses.is_dataclass(kind):
        told = {p.arg_name: p.description for p in docstring_parser.parse_from_object(kind).params}
        for field in dataclasses.fields(kind):
            text = " ".join((told.get(field.name) or "").split())
            field.metadata = MappingProxyType({**field.metadata, "help": text or None})
    for part in get_type_hints(kind).values():
        if dataclasses.is_dataclass(part):
            _join_lines(part)


def value_of(flag: str, arguments: list[str]) -> str | None:
    """The value of a flag that must be known before the parser can be built."""
    for index, argument in enumerate(arguments):
        if argument.startswith(flag + "="):
            return argument.removeprefix(flag + "=")
        if argument == flag and index + 1 < len(arguments):
            return arguments[index + 1]
    return None


def run_one_of(
    commands: Mapping[str, Callable[..., Options]], arguments: list[str], *, prog: str, about: str
) -> Options:
    """Run the command that the first word names with the flags that follow, as its signature says
    them. Without one, or for help, the parser tells what there is and exits."""
    import tyro

    if not arguments or arguments[0] in ("-h", "--help"):
        return tyro.extras.subcommand_cli_from_dict(
            dict(commands), args=arguments, prog=prog, description=about
        )
    if arguments[0] not in commands:
        raise unknown(prog, arguments[0], commands)
    return parse(commands[arguments[0]], arguments[1:], prog=f"{prog} {arguments[0]}")
