"""The command `meshloom data`: make a token store, train a tokenizer, look at rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Interval

from data.config import DataConfig
from launch.schema.command_line import UsageError, run_subcommand, wants_help

if TYPE_CHECKING:
    from data.rows.tokens import TokenWindows


DEFAULT = DataConfig()


def main(arguments: list[str]) -> None:
    """Run `meshloom data prepare|tokenizer|show`."""
    commands = {"prepare": prepare, "tokenizer": tokenizer, "show": show}
    if arguments[:1] == ["tokenizer"] and not wants_help(arguments):
        _require_output(arguments)
    run_subcommand(
        commands,
        arguments,
        prog="meshloom data",
        about="Prepare token stores and tokenizers; training prepares what is missing.",
    )


def prepare(data: DataConfig = DEFAULT) -> None:
    """Tokenize the sources into the cache, continuing where a killed call stopped.

    Args:
        data: The data of a run.
    """
    from data.rows.tokens import open_windows

    rows = open_windows(data, "train")
    print(f"ready to train on: {_counts(rows)} of {data.sequence_length} tokens")


def tokenizer(
    output: Annotated[Path, tyro.conf.Positional],
    data: DataConfig = DEFAULT,
    vocab_size: Annotated[int, Interval(ge=257, le=2**24)] = 8192,
    mask_token: bool = False,
) -> None:
    """Train a byte-level BPE on the documents that are not held out.

    Args:
        output: The tokenizer.json to write.
        data: The data to learn from.
        vocab_size: Number of token ids, with the 256 bytes and the end of a document.
        mask_token: Also make [MASK], which hides the tokens that an encoder predicts.
    """
    from data.train_tokenizer import train_tokenizer

    train_tokenizer(data, vocab_size, output, mask=mask_token, report=print)
    print(f"wrote {output}; use it with --data.tokenizer {output}")


def show(data: DataConfig = DEFAULT, row: Annotated[int, Interval(ge=0, le=2**62)] = 0) -> None:
    """Print the sizes of the data, and a training row as text.

    Args:
        data: The data of a run.
        row: Number of the row in the order of training, from 0.
    """
    from data.rows.tokens import open_windows
    from data.tokenizer import documents, visible

    rows = open_windows(data, "train")
    print(f"digest     {rows.digest}")
    print(f"train      {_counts(rows)}")
    if data.held_out:
        try:
            print(f"held out   {_counts(open_windows(data, 'held_out'))}")
        except ValueError as error:
            print(f"held out   0 rows: {error}")
    print(f"vocabulary {rows.tokenizer.vocab_size:,} ids; {documents(rows.tokenizer)}")
    texts = rows.text(row)
    file, _, place = rows.origin(row).rpartition(" at ")
    # With weights each source has epochs of its own.
    epoch = "" if data.weights else f" of epoch {row // rows.num_rows + 1:,}"
    print(
        f"row {row:,}{epoch}, which begins in the document at {place} of {file}, "
        f"{_counted(len(texts), 'document')}:"
    )
    print(visible("\n--- next document ---\n".join(texts)))


def _require_output(arguments: list[str]) -> None:
    """Raise UsageError if no word can be the tokenizer to write: the parser would take a source."""
    if not any(word.endswith(".json") for word in arguments):
        raise UsageError(
            "meshloom data tokenizer needs the path of the tokenizer.json to write, as in "
            "`meshloom data tokenizer corpus/tokenizer.json --data.sources 'text:corpus/*.txt'`"
        )


def _counts(rows: "TokenWindows") -> str:
    return (
        f"{_counted(rows.num_documents, 'document')}, {rows.num_bytes:,} bytes, "
        f"{rows.num_tokens:,} tokens, {_counted(rows.num_rows, 'row')}"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
