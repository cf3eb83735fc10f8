"""One shard of a token store: for each split a flat file of ids and an index next to it.

`NNNNN.SPLIT.tokens` holds uint16 or uint32 little-endian ids; each document is followed by one
boundary, the end token. `NNNNN.SPLIT.npz` holds where each document ends and came from, and a
CRC-32 of every BLOCK bytes of tokens. `NNNNN.json` counts both, and what the tokenizer lost; it is
written last: the shard is finished.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import numpy as np

from data import durable
from data.config import TextConfig
from data.errors import UserError
from data.round_trip import RoundTrip, refuse_boundaries, refuse_lost
from data.sources.source import Corpus, Document, Piece
from data.tokenizer import Tokenizer

BLOCK = 1 << 16
GROUP = 1 << 20
SPLITS = ("train", "held_out")


def token_type(vocab_size: int) -> np.dtype:
    """The narrowest type that holds every id."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def is_held_out(content: bytes, share: float) -> bool:
    """Whether the document of this text is kept for evaluation: its hash alone decides."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") < int(share * 2**64)


def record_of(folder: Path, number: int) -> Path:
    """The file that says a shard is finished."""
    return folder / f"{number:05}.json"


def write_shard(
    folder: Path, number: int, corpus: Corpus, pieces: list[Piece], config: TextConfig
) -> int:
    """Tokenize the pieces into shard `number`; returns their bytes of text.

    ValueError on text that gives no tokens, or one of those that stand between documents, and, once
    it is written, on more lost characters than `config` allows.
    """
    tokenizer = config.load_tokenizer()
    documents = (document for piece in pieces for document in corpus.read(piece))
    round_trip = RoundTrip(tokenizer)
    with ExitStack() as opened:
        writers = []
        for split in SPLITS:
            path = folder / f"{number:05}.{split}.tokens"
            temporary = opened.enter_context(durable.replacing(path))
            writers.append(opened.enter_context(_Writer(path, temporary, tokenizer)))
        for group in _grouped(documents, round_trip):
            contents = [encode(corpus, document) for document in group]
            encoded = tokenizer.encode_batch([document.text for document in group])
            round_trip.count(group, encoded)
            for document, content, ids in zip(group, contents, encoded, strict=True):
                _check_ids(tokenizer, config, document, ids)
                held_out = is_held_out(content, config.held_out)
                writers[held_out].add(document, ids, len(content))
        record = {split: writer.finish() for split, writer in zip(SPLITS, writers, strict=True)}
    content = json.dumps({**record, "text": round_trip.counts})
    durable.write(record_of(folder, number), content)
    refuse_lost(config, corpus.spec, round_trip.counts)
    return sum(record[split]["bytes"] for split in SPLITS)


def _check_ids(
    tokenizer: Tokenizer, config: TextConfig, document: Document, ids: np.ndarray
) -> None:
    where = f"the text at {document.place} of {document.file}"
    if not len(ids):
        raise UserError(
            f"data.tokenizer={config.tokenizer!r} must make tokens of every document, because one "
            f"of none would be two boundaries and no text, but {where} gives none; try another "
            "tokenizer, or leaving that document out"
        )
    refuse_boundaries(tokenizer, config, where, ids)


def encode(corpus: Corpus, document: Document) -> bytes:
    """The document's text as UTF-8; ValueError names where a lone surrogate (from JSON) stands."""
    try:
        return document.text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"data.sources={corpus.spec!r} must hold Unicode text, because it is stored as UTF-8, "
            f"but in {document.file} the text at {document.place} has a lone surrogate at its "
            f"character {error.start}; try replacing it"
        ) from error


def _grouped(documents: Iterable[Document], round_trip: RoundTrip) -> Iterator[list[Document]]:
    """Documents that have text, in groups of about GROUP characters."""
    group: list[Document] = []
    size = 0
    for document in documents:
        if not document.text:
            round_trip.counts["empty"] += 1
            continue
        group.append(document)
        size += len(document.text)
        if size >= GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


class _Writer:
    """Appends documents to the token file of one split, which is `temporary` until it is finished
    and then `path`; a context that closes it."""

    def __init__(self, path: Path, temporary: Path, tokenizer: Tokenizer) -> None:
        self._path = path
        self._temporary = temporary
        self._file = open(temporary, "wb")
        self._type = token_type(tokenizer.vocab_size)
        self._boundary = tokenizer.end.id
        self._tokens = 0
        self._bytes = 0
        self._ends: list[int] = []
        self._files: list[str] = []
        self._places: list[int] = []

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, document: Document, ids: np.ndarray, size: int) -> None:
        self._file.write(np.append(ids, self._boundary).astype(self._type).tobytes())
        self._tokens += len(ids) + 1
        self._bytes += size
        self._ends.append(self._tokens)
        self._files.append(document.file)
        self._places.append(document.place)

    def finish(self) -> dict[str, int]:
        """Write the index; returns the counts."""
        self._file.flush()
        runs = [(name, len(list(run))) for name, run in groupby(self._files)]
        index = self._path.with_suffix(".npz")
        with durable.replacing(index) as temporary, open(temporary, "wb") as file:
            np.savez(
                file,
                ends=np.array(self._ends, np.int64),
                places=np.array(self._places, np.int64),
                files=pack_names([name for name, _ in runs]),
                file_ends=np.cumsum([length for _, length in runs], dtype=np.int64),
                checksums=np.array(list(checksums(self._temporary)), np.uint32),
            )
        return {"tokens": self._tokens, "documents": len(self._ends), "bytes": self._bytes}


def pack_names(names: list[str]) -> np.ndarray:
    """Names as bytes; NumPy's own strings take four bytes for each letter of the longest."""
    return np.frombuffer("\0".join(names).encode(errors="surrogateescape"), np.uint8)


def unpack_names(packed: np.ndarray) -> list[str]:
    """The inverse of pack_names."""
    return packed.tobytes().decode(errors="surrogateescape").split("\0")


def checksums(path: Path) -> Iterator[int]:
    """CRC-32 of every BLOCK bytes of a file."""
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            yield zlib.crc32(block)
