"""What a message advises, followed: every `try ...` of ours must work as it stands."""

import re
from collections.abc import Callable, Sequence

from launch.words import UsageError


def advised(arguments: Sequence[str], message: str) -> list[str]:
    """The command line with the first advice of the message taken: its flags set, or left out."""
    advice = re.split(r"[,;] | or |\n", message.rpartition("try ")[2])[0].strip()
    if (left_out := re.match(r"(?:without|leaving out) (--[\w.-]+)", advice)) is not None:
        return without(arguments, left_out[1])
    flags = re.findall(r"--[\w.-]+(?: (?!--)[^\s]+)*", advice)
    if not flags and re.fullmatch(r"-?[\d.]+", advice):  # a word that no flag precedes
        wrong = message.partition("=")[2].split()[0]
        return [advice if word == wrong else word for word in arguments]
    assert flags, f"no flag is advised by {message!r}"
    for flag in flags:
        name, *values = flag.split()
        arguments = [*without(arguments, name), name, *values]
    return list(arguments)


def without(arguments: Sequence[str], name: str) -> list[str]:
    """The command line without that flag and its values."""
    kept, skip = [], False
    for word in arguments:
        if word.startswith("--"):
            skip = word.partition("=")[0].replace("_", "-") == name
        if not skip:
            kept.append(word)
    return kept


def followed(
    run: Callable[[list[str]], object], arguments: Sequence[str], most: int = 4
) -> list[str]:
    """The messages until the command line is taken, each advice taken in its turn; AssertionError
    after `most`, or if one is refused with what it said before."""
    messages: list[str] = []
    words = list(arguments)
    while True:
        try:
            run(words)
        except (ValueError, UsageError) as error:
            assert len(messages) < most and str(error) not in messages, [*messages, str(error)]
            messages.append(str(error))
            words = advised(words, str(error))
        else:
            return messages
