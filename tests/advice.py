"""What a message advises, followed: every `try ...` of ours must work as it stands."""

import re
from collections.abc import Callable, Sequence

from launch.schema.command_line import UsageError

First = Callable[[Sequence[str]], str]


def first(advices: Sequence[str]) -> str:
    return advices[0]


def advices_of(message: str) -> list[str]:
    """What a message says may be typed: flags with their values, `without FLAG`, or one word."""
    advices: list[str] = []
    for part in re.split(r",? or |[,;\n]", message.rpartition("try ")[2]):
        advice, flags = part.strip(), re.findall(r"--[\w.-]+", part)
        if re.match(r"(?:without|leaving out) --", advice):
            advices.append(f"without {flags[0]}")
        elif flags:
            advices.append(" ".join(re.findall(r"--[\w.-]+(?: (?!--)[^\s]+)*", advice)))
        elif re.fullmatch(r"-?[\d.]+", advice):  # another value of the flag before, or of none
            advices.append(f"{advices[-1].split()[0]} {advice}" if advices else advice)
    return advices


def advised(arguments: Sequence[str], message: str, choose: First = first) -> list[str]:
    """The command line with an advice of the message taken: its flags set, or left out."""
    advices = advices_of(message)
    assert advices, f"no flag is advised by {message!r}"
    advice = choose(advices)
    if advice.startswith("without "):
        return without(arguments, advice.split()[1])
    if not advice.startswith("--"):
        wrong = message.partition("=")[2].split()[0]
        return [advice if word == wrong else word for word in arguments]
    for flag in re.findall(r"--[\w.-]+(?: (?!--)[^\s]+)*", advice):
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
    run: Callable[[list[str]], object],
    arguments: Sequence[str],
    most: int = 4,
    choose: First = first,
) -> list[str]:
    """The messages until the command line is taken, an advice of each taken in its turn;
    AssertionError after `most`, or if one is refused with what it said before."""
    messages: list[str] = []
    words = list(arguments)
    while True:
        try:
            run(words)
        except (ValueError, UsageError) as error:
            assert len(messages) < most and str(error) not in messages, [*messages, str(error)]
            messages.append(str(error))
            words = advised(words, str(error), choose)
        else:
            return messages
