"""The command `meshloom chat`."""

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Interval

from data.errors import UserError
from data.fields import Whole
from launch.commands.sampling_options import SamplingOptions
from launch.config import MeshConfig
from launch.process import exits
from launch.run.saved import MovedTokenizer
from launch.schema.command_line import parse

if TYPE_CHECKING:
    from launch.run.chat import Conversation


@dataclass(frozen=True, kw_only=True)
class ChatOptions(SamplingOptions):
    """Talk with a checkpoint: a line is a message, /new begins again, /quit ends."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    temperature: Annotated[float, Interval(ge=0, le=1e3)] = 0.0
    """Divides the logits; 0 takes the likeliest token each time."""
    tokens: Annotated[int, Interval(ge=1, le=10**6)] = 512
    """Tokens of an answer at most."""
    step: Whole | None = None
    """Checkpoint to read; the latest by default."""
    data: MovedTokenizer = field(default_factory=MovedTokenizer)
    """Where its tokenizer is now."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """The devices, which need not be those of the training."""


def main(arguments: list[str]) -> None:
    """Answer lines of the terminal, or of a pipe, until it ends."""
    options = parse(ChatOptions, arguments, prog="meshloom chat")
    from launch.run.chat import open_conversation

    with open_conversation(
        options.run,
        step=options.step,
        tokens=options.tokens,
        sampling=options.sampling(),
        stops=options.stop,
        seed=options.seed,
        data=options.data,
        mesh=options.mesh,
    ) as conversation:
        try:
            for line in _lines():
                _answer(conversation, line, options.tokens)
        except KeyboardInterrupt:
            print()


def _answer(conversation: "Conversation", line: str, tokens: int) -> None:
    from data.tokenizer import visible

    if line == "/new":
        return conversation.forget()
    try:
        written = conversation.answer(
            line,
            tokens=tokens,
            on_text=lambda piece: print(visible(piece), end="", flush=True),
        )
    except UserError as error:
        if not sys.stdin.isatty():
            raise
        return exits.print_error(str(error))
    print(flush=True)
    (answer,) = written.continuations
    cut = ""
    if answer.ended == "length":
        full = answer.tokens < tokens
        why = "the model's length is full: try /new" if full else "try --tokens with more"
        cut = f"; cut off there, {why}"
    print(f"({written.speed}{cut})", file=sys.stderr)


def _lines() -> Iterator[str]:
    """What a user says, line by line, until /quit, the end of the input or an interrupt."""
    if sys.stdin is None:  # closed
        return
    asks = sys.stdin.isatty()
    if asks:
        import readline  # noqa: F401 - lets lines be edited

        print("a message, /new for another conversation, or /quit", file=sys.stderr)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    while True:
        try:
            line = input("> " if asks else "").strip()
        except EOFError:
            if asks:
                print()
            return
        if line == "/quit":
            return
        if line:
            yield line
