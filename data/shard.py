"""One shard of a token store: for each split a flat file of ids and an index beside it.

`NNNNN.SPLIT.tokens` holds uint16 or uint32 little-endian ids; each document ends with the
end-of-document id. `NNNNN.SPLIT.npz` holds where each document ends and came from, and a CRC-32 of
every BLOCK bytes of tokens. `NNNNN.json` counts both; it is written last: the shard is finished.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import numpy as np

from data.cache import commit, temporary_for
from data.formats import Piece
from data.source import Corpus, Document
from data.tokenizer import Tokenizer, load_tokenizer

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
    folder: Path,
    number: int,
    corpus: Corpus,
    pieces: list[Piece],
    tokenizer_spec: str,
    held_out: float,
) -> int:
    """Tokenize the pieces into shard `number`; returns their bytes of text."""
    tokenizer = load_tokenizer(tokenizer_spec)
    documents = (document for piece in pieces for document in corpus.read(piece))
    with ExitStack() as opened:
        writers = [
            opened.enter_context(_Writer(folder / f"{number:05}.{split}.tokens", tokenizer))
            for split in SPLITS
        ]
        for group in _grouped(documents):
            contents = [encode(corpus, document) for document in group]
            encoded = tokenizer.encode_batch([document.text for document in group])
            for document, content, ids in zip(group, contents, encoded, strict=True):
                writers[is_held_out(content, held_out)].add(document, ids, len(content))
        record = {split: writer.finish() for split, writer in zip(SPLITS, writers, strict=True)}
    commit(record_of(folder, number), json.dumps(record).encode())
    return sum(counts["bytes"] for counts in record.values())


def encode(corpus: Corpus, document: Document) -> bytes:
    """The document's text as UTF-8; ValueError names where a lone surrogate (from JSON) stands."""
    try:
        return document.text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"data.sources={corpus.spec!r} must hold Unicode text, because it is stored as UTF-8, "
            f"but in {document.file} the text at {document.place} has a lone surrogate at its "
            f"character {error.start}; try replacing it"
        ) from error


def _grouped(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents that have text, in groups of about GROUP characters."""
    group: list[Document] = []
    size = 0
    for document in documents:
        if not document.text:
            continue
        group.append(document)
        size += len(document.text)
        if size >= GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


class _Writer:
    """Appends documents to one split's token file; a context that closes it."""

    def __init__(self, path: Path, tokenizer: Tokenizer) -> None:
        self._path = path
        self._temporary = temporary_for(path)
        self._file = open(self._temporary, "wb")
        self._type = token_type(tokenizer.vocab_size)
        self._end_id = tokenizer.end_of_document
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
        if (ids == self._end_id).any():
            raise ValueError(
                f"data.tokenizer must not produce its end-of-document id {self._end_id} from text, "
                f"because documents are told apart by it, but it does in {document.file} at "
                f"{document.place}; try another tokenizer"
            )
        self._file.write(np.append(ids, self._end_id).astype(self._type).tobytes())
        self._tokens += len(ids) + 1
        self._bytes += size
        self._ends.append(self._tokens)
        self._files.append(document.file)
        self._places.append(document.place)

    def finish(self) -> dict[str, int]:
        """Commit the tokens and their index; returns the counts."""
        self._file.flush()
        os.fsync(self._file.fileno())
        runs = [(name, len(list(run))) for name, run in groupby(self._files)]
        index = temporary_for(self._path.with_suffix(".npz"))
        with open(index, "wb") as file:
            np.savez(
                file,
                ends=np.array(self._ends, np.int64),
                places=np.array(self._places, np.int64),
                files=pack_names([name for name, _ in runs]),
                file_ends=np.cumsum([length for _, length in runs], dtype=np.int64),
                checksums=np.array(list(checksums(self._temporary)), np.uint32),
            )
            file.flush()
            os.fsync(file.fileno())
        index.rename(self._path.with_suffix(".npz"))
        self._temporary.rename(self._path)
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
