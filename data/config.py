"""Where text comes from and how it becomes rows. Imports no grain, so that `--help` stays fast."""

from dataclasses import dataclass, field

FREE = {"resume": "free"}


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Sources, tokenizer and row shape; with the seed it fixes the order of every row."""

    sources: tuple[str, ...] = ("stdlib",)
    """Corpora, each `kind:where`: `text:GLOB`, `jsonl:GLOB`, `parquet:GLOB`, `tfds:NAME`, `synthetic:TOKENS`, or `stdlib`, the sources of this Python's standard library. Paths may be local, gs:// or s3://."""
    weights: tuple[float, ...] = ()
    """Share of rows drawn from each source; empty mixes in proportion to their size."""
    text_field: str = "text"
    """Field of a JSONL, Parquet or TFDS record that holds the text."""
    tokenizer: str = "bytes"
    """`bytes`, or the path of a `tokenizer.json` or a SentencePiece `.model`."""
    sequence_length: int = 256
    """T, tokens in a row."""
    packing: bool = True
    """Keep documents apart inside a row: segment ids stop attention, positions restart. False is the plain stream."""
    held_out: float = 0.01
    """Share of documents, chosen by the hash of their text, that is kept for evaluation."""
    seed: int = 0
    """Seed of the row order."""
    cache_dir: str = field(default="~/.cache/meshloom", metadata=FREE)
    """Where token stores lie; a local path, gs:// or s3://."""
