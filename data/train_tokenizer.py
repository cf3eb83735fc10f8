"""A byte-level BPE learnt from a corpus (Sennrich et al. 2016; bytes as in GPT-2)."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from data import durable, system
from data.config import TextConfig
from data.corpus import open_corpus
from data.errors import UserError
from data.pieces import MASKS
from data.shard import encode, is_held_out
from data.special_tokens import KNOWN_ENDS

WRITTEN = "the tokenizer is written there"


def train_tokenizer(
    config: TextConfig,
    vocab_size: int,
    output: Path,
    *,
    mask: bool = False,
    report: Callable[[str], None],
) -> None:
    """Learn merges from the documents that are not held out and write a `tokenizer.json`.

    Any text goes through it and comes back as it was. With `mask` it has a token that hides others.
    ValueError if vocab_size is below 257, or if
    the file is there already or could not be written: before any text is read.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocab_size < 257:
        raise UserError(
            f"vocab_size={vocab_size} must be at least 257, because the 256 bytes and the end of a "
            "document come first; try --vocab-size 8192"
        )
    name = f"output={str(output)!r}"
    with system.usable(name, WRITTEN):
        there = _is_there(output)
    if output.suffix != ".json" or there:
        raise UserError(
            f"{name} must be a new file that ends in .json, because nothing is "
            "overwritten; try another name"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[KNOWN_ENDS[0], *MASKS[:mask]],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(config, report), trainer)
    report(f"learnt {tokenizer.get_vocab_size():,} tokens")
    with system.usable(name, WRITTEN):
        output.parent.mkdir(parents=True, exist_ok=True)
        durable.write(output, tokenizer.to_str())


def _is_there(output: Path) -> bool:
    """Whether anything has that path; OSError if no file can be written there."""
    for folder in output.absolute().parents:
        if os.path.lexists(folder):
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
            break
    return os.path.lexists(output)


def _texts(config: TextConfig, report: Callable[[str], None]) -> Iterator[str]:
    for spec in config.sources:
        corpus = open_corpus(spec, config, report)
        report(f"{spec}: reading")
        for piece in corpus.pieces():
            for document in corpus.read(piece):
                if not is_held_out(encode(corpus, document), config.held_out):
                    yield document.text
