"""Where text comes from and how it becomes rows. Imports no grain, so that `--help` stays fast."""

import re
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Interval

from data.sources import table
from data.sources.source import Source

# What a source or a tokenizer holds must stay; its digest decides, and not where it lies.
FREE = {"resume": "free"}


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Sources, tokenizer and row shape; with the seed it fixes the order of every row."""

    sources: tuple[str, ...] = field(default=("stdlib",), metadata=FREE)
    """Corpora, each `kind:where`: `text:GLOB`, `jsonl:GLOB`, `parquet:GLOB`, `tfds:NAME`,
    `synthetic:CHARACTERS`, or `stdlib`, the sources of this Python's standard library. Paths may be
    local, gs:// or s3://."""
    weights: tuple[Annotated[float, Interval(ge=1e-15, le=1e15)], ...] = ()
    """Share of rows drawn from each source, kept within 1 %; empty mixes in proportion to size."""
    text_field: str = "text"
    """Field of a JSONL, Parquet or TFDS record that holds the text."""
    tokenizer: str = field(default="bytes", metadata=FREE)
    """`bytes`, or the path of a `tokenizer.json` or a SentencePiece `.model`."""
    begin_token: str | None = field(default=None, metadata=FREE)
    """Special token that is the input before a document; if not given, what the tokenizer's own
    template puts before a text, else the end token."""
    end_token: str | None = field(default=None, metadata=FREE)
    """Special token that is the target after a document; if not given, what the tokenizer's files
    declare."""
    lost_characters: Annotated[float, Interval(ge=0, le=1)] = field(default=0.001, metadata=FREE)
    """Share of the characters of a shard (about 32 MiB of text) that the tokenizer may lose or
    replace."""
    sequence_length: Annotated[int, Interval(ge=1, le=2**24)] = 256
    """T, tokens in a row."""
    packing: bool = True
    """Keep documents apart inside a row: segment ids stop attention and positions restart. False is
    the plain stream."""
    held_out: Annotated[float, Interval(ge=0, le=0.999)] = 0.01
    """Share of documents, chosen by the hash of their text, that is kept for evaluation."""
    seed: Annotated[int, Interval(ge=0, le=2**32 - 1)] = 0
    """Seed of the row order."""
    cache_dir: str = field(default="~/.cache/meshloom", metadata=FREE)
    """Where token stores lie; a local path, gs:// or s3:// (then mirrored in ~/.cache/meshloom)."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError(
                "data.sources=() must name at least one corpus, because rows are cut from text; "
                "try --data.sources stdlib"
            )
        # First, as the other messages show what they refuse.
        for name in ("sources", "tokenizer", "cache_dir"):
            _check_no_password(name, str(getattr(self, name)))
        for source in self.sources:
            self.source_of(source).check()
        _check_weights(self.weights, self.sources)

    def source_of(self, spec: str) -> Source:
        """The source that `spec` means; ValueError if its kind is not known. A subclass, passed
        from Python, knows kinds that are not in the table."""
        return table.source_of(spec)


def _check_no_password(name: str, text: str) -> None:
    """Raise ValueError, without its text, if a URL holds credentials: configs are written down."""
    if re.search(r"://[^/\s'\"]*@", text):
        raise ValueError(
            f"data.{name}=(hidden) must hold no user name or password in a URL, because the config "
            "is written into run directories and checkpoints; try the credentials file or "
            "environment variables of that storage"
        )


def _check_weights(weights: tuple[float, ...], sources: tuple[str, ...]) -> None:
    if weights and len(weights) != len(sources):
        raise ValueError(
            f"data.weights={weights} must hold one weight for each of the {len(sources)} sources, "
            f"because it has {len(weights)}; try --data.weights {' '.join('1' for _ in sources)}"
        )
