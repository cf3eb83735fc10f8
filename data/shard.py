"""One shard of a token store: for each split a flat file of ids and an index beside it.

`NNNNN.SPLIT.tokens` holds uint16 or uint32 little-endian ids, every document ended by the end-of-document
id. `NNNNN.SPLIT.npz` holds where each document ends and came from, and a CRC-32 of every BLOCK bytes of
tokens. `NNNNN.json` counts both and is written last: a shard with it is finished.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from data.cache import commit
from data.formats import Piece
from data.source import Corpus, Document
from data.tokenizer import Tokenizer, load_tokenizer

BLOCK = 1 << 16
GROUP = 1 << 20
SPLITS = ("train", "held_out")


def token_type(vocab_size: int) -> np.dtype:
    """The narrowest type that holds every id."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def write_shard(
    folder: Path, number: int, corpus: Corpus, pieces: list[Piece], tokenizer_spec: str, held_out: float
) -> int:
    """Tokenize the pieces into shard `number`; returns their bytes of text."""
    tokenizer = load_tokenizer(tokenizer_spec)
    writers = {split: _Writer(folder, f"{number:05}.{split}", tokenizer) for split in SPLITS}
    bound = int(held_out * 2**64)
    documents = (document for piece in pieces for document in corpus.read(piece))
    for group in _grouped(documents):
        contents = [_encoded(corpus, document) for document in group]
        kept = [int.from_bytes(hashlib.sha256(c).digest()[:8]) < bound for c in contents]
        encoded = tokenizer.encode_batch([document.text for document in group])
        for document, content, ids, held in zip(group, contents, encoded, kept):
            writers["held_out" if held else "train"].add(document, ids, len(content))
    record = {split: writer.finish() for split, writer in writers.items()}
    commit(folder / f"{number:05}.json", json.dumps(record).encode())
    return sum(counts["bytes"] for counts in record.values())


def _grouped(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents with text, in groups of about GROUP characters."""
    group: list[Document] = []
    size = 0
    for document in documents:
        if document.text:
            group.append(document)
            size += len(document.text)
        if size >= GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _encoded(corpus: Corpus, document: Document) -> bytes:
    try:
        return document.text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"data.sources={corpus.spec!r} must hold Unicode text, because it is stored as UTF-8, but "
            f"in {document.file} the text at {document.place} has a lone surrogate at its character "
            f"{error.start}; try replacing it"
        ) from error


class _Writer:
    """Appends documents to one split's token file."""

    def __init__(self, folder: Path, name: str, tokenizer: Tokenizer) -> None:
        self._path = folder / f"{name}.tokens"
        self._temporary = folder / f"{name}.tokens.tmp"
        self._file = open(self._temporary, "wb")
        self._type = token_type(tokenizer.vocab_size)
        self._end = np.array([tokenizer.end_of_document], self._type).tobytes()
        self._tokens = 0
        self._bytes = 0
        self._ends: list[int] = []
        self._files: list[str] = []
        self._places: list[int] = []

    def add(self, document: Document, ids: np.ndarray, size: int) -> None:
        self._file.write(ids.astype(self._type).tobytes())
        self._file.write(self._end)
        self._tokens += len(ids) + 1
        self._bytes += size
        self._ends.append(self._tokens)
        self._files.append(document.file)
        self._places.append(document.place)

    def finish(self) -> dict[str, int]:
        """Commit the tokens and their index; returns the counts."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        names = [name for name, _ in groupby(self._files)]
        lengths = [len(list(run)) for _, run in groupby(self._files)]
        index = self._path.with_suffix(".npz.tmp")
        with open(index, "wb") as file:
            np.savez(
                file,
                ends=np.array(self._ends, np.int64),
                places=np.array(self._places, np.int64),
                files=np.array(names, np.str_),
                file_ends=np.cumsum(lengths, dtype=np.int64),
                checksums=np.array(list(_checksums(self._temporary)), np.uint32),
            )
            file.flush()
            os.fsync(file.fileno())
        index.rename(self._path.with_suffix(".npz"))
        self._temporary.rename(self._path)
        return {"tokens": self._tokens, "documents": len(self._ends), "bytes": self._bytes}


def _checksums(path: Path) -> Iterator[int]:
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            yield zlib.crc32(block)
