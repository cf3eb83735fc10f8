"""Tokens on disk, made once: a folder named by the digest of what went in, written shard by shard.

Finished shards survive a kill; the folder gets its name last. Readers map the files and check each block
the first time they touch it.
"""

import json
import multiprocessing
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np

from data.cache import commit, digest_of, local_cache, only_one, sync_folder
from data.formats import PIECE, Piece
from data.shard import BLOCK, SPLITS, token_type, write_shard
from data.source import Corpus
from data.tokenizer import Tokenizer

FORMAT = 1
MANIFEST = "manifest.json"


def store_digest(corpus: Corpus, tokenizer: Tokenizer, held_out: float) -> str:
    """Digest of everything that decides a store's bytes."""
    return digest_of(FORMAT, corpus.digest, corpus.text_field, tokenizer.digest, held_out)


def open_store(
    corpus: Corpus,
    tokenizer: Tokenizer,
    tokenizer_spec: str,
    held_out: float,
    report: Callable[[str], None],
) -> "Store":
    """The corpus as tokens; made first if this cache lacks it, by one process while others wait."""
    digest = store_digest(corpus, tokenizer, held_out)
    folder = local_cache(corpus.cache_dir) / "stores" / digest
    if not (folder / MANIFEST).exists():
        with only_one(folder.with_suffix(".lock"), report):
            if not (folder / MANIFEST).exists():
                _build(folder, corpus, tokenizer, tokenizer_spec, held_out, report)
    return Store(folder, digest)


def _build(
    folder: Path,
    corpus: Corpus,
    tokenizer: Tokenizer,
    tokenizer_spec: str,
    held_out: float,
    report: Callable[[str], None],
) -> None:
    partial = folder.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    shards = list(_planned(corpus.pieces()))
    missing = [i for i in range(len(shards)) if not (partial / f"{i:05}.json").exists()]
    done = len(shards) - len(missing)
    jobs = [(partial, i, corpus, shards[i], tokenizer_spec, held_out) for i in missing]
    report(f"{corpus.spec}: tokenizing {len(shards)} shards, {done} already done")
    size = 0
    for count, written in enumerate(_run(jobs), start=done + 1):
        size += written
        report(f"{corpus.spec}: {count} of {len(shards)} shards, {size / 1e6:,.1f} MB of text")
    records = [json.loads((partial / f"{i:05}.json").read_text()) for i in range(len(shards))]
    if not any(record[split]["tokens"] for record in records for split in SPLITS):
        raise ValueError(
            f"data.sources={corpus.spec!r} must hold text, because rows are cut from it, but its "
            f"{len(corpus.files)} files are empty; try another path"
        )
    manifest = {
        "format": FORMAT,
        "source": corpus.spec,
        "type": token_type(tokenizer.vocab_size).str,
        "splits": {split: [record[split] for record in records] for split in SPLITS},
    }
    commit(partial / MANIFEST, json.dumps(manifest).encode())
    partial.rename(folder)
    sync_folder(folder.parent)


def _planned(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """Neighbouring pieces joined to shards of about PIECE bytes; the same whoever asks."""
    shard: list[Piece] = []
    for piece in pieces:
        if shard and sum(p.size for p in shard) + piece.size > PIECE:
            yield shard
            shard = []
        shard.append(piece)
    if shard:
        yield shard


def _run(jobs: list[tuple]) -> Iterator[int]:
    """Write shards, in processes if there are several; yields the bytes of each."""
    workers = min(len(os.sched_getaffinity(0)), len(jobs))
    if workers < 2:
        yield from (write_shard(*job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        futures = [pool.submit(write_shard, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a tokenizing process was killed, perhaps for memory; run again to go on from the "
                "finished shards"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


class Store:
    """A finished store."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.digest = digest
        manifest = json.loads((folder / MANIFEST).read_text())
        kind = np.dtype(manifest["type"])
        self.splits = {
            split: Stream(
                [Shard(folder / f"{i:05}.{split}", counts, kind) for i, counts in enumerate(shards)]
            )
            for split, shards in manifest["splits"].items()
        }


class Stream:
    """The documents of one split, joined end to end."""

    def __init__(self, shards: list["Shard"]) -> None:
        self._shards = [shard for shard in shards if shard.tokens]
        self._ends = np.array(list(accumulate(s.tokens for s in self._shards)), np.int64)
        self.num_tokens = int(self._ends[-1]) if self._shards else 0
        self.num_documents = sum(shard.documents for shard in self._shards)
        self.num_bytes = sum(shard.bytes for shard in self._shards)

    def read(self, starts: np.ndarray, out: np.ndarray) -> None:
        """Fill each row of out, [n, length], with the tokens from its start on."""
        length = out.shape[1]
        numbers = np.searchsorted(self._ends, starts, side="right")
        for row, start, number in zip(out, starts.tolist(), numbers.tolist()):
            shard = self._shards[number]
            begin = start - (int(self._ends[number]) - shard.tokens)
            have = shard.tokens - begin
            if have >= length:
                row[:] = shard.read(begin, begin + length)
                continue
            row[:have] = shard.read(begin, shard.tokens)
            self.read(np.array([start + have]), row[None, have:])

    def origin(self, token: int) -> str:
        """File and place of the document that holds the token of this number."""
        number = int(np.searchsorted(self._ends, token, side="right"))
        shard = self._shards[number]
        return shard.origin(token - (int(self._ends[number]) - shard.tokens))


class Shard:
    """One token file, mapped when first read."""

    def __init__(self, path: Path, counts: dict[str, int], kind: np.dtype) -> None:
        self._path = path.with_name(f"{path.name}.tokens")
        self._type = kind
        self.tokens = counts["tokens"]
        self.documents = counts["documents"]
        self.bytes = counts["bytes"]
        size = self._path.stat().st_size
        if size != self.tokens * kind.itemsize:
            raise self._damaged(f"it has {size:,} bytes and not {self.tokens * kind.itemsize:,}")

    @cached_property
    def _map(self) -> np.ndarray:
        return np.memmap(self._path, self._type, "r")

    @cached_property
    def _index(self) -> dict[str, np.ndarray]:
        path = self._path.with_suffix(".npz")
        try:
            with np.load(path) as index:
                return {name: index[name] for name in index}
        except (OSError, ValueError, zlib.error) as error:
            raise self._damaged(f"its index cannot be read ({error})") from error

    @cached_property
    def _unchecked(self) -> bytearray:
        return bytearray(b"\1") * len(self._index["checksums"])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens start..stop, from blocks whose checksum has been found right."""
        per_block = BLOCK // self._type.itemsize
        first, last = start // per_block, (stop - 1) // per_block
        if any(self._unchecked[first : last + 1]):
            self._check(first, last)
        return self._map[start:stop]

    def _check(self, first: int, last: int) -> None:
        per_block = BLOCK // self._type.itemsize
        for block in range(first, last + 1):
            content = self._map[block * per_block : (block + 1) * per_block]
            if zlib.crc32(content) != self._index["checksums"][block]:
                raise self._damaged(f"its bytes from {block * BLOCK:,} on have a wrong checksum")
            self._unchecked[block] = 0

    def origin(self, token: int) -> str:
        document = int(np.searchsorted(self._index["ends"], token, side="right"))
        file = int(np.searchsorted(self._index["file_ends"], document, side="right"))
        return f"{self._index['files'][file]} at {self._index['places'][document]}"

    def _damaged(self, how: str) -> ValueError:
        return ValueError(
            f"the token file {self._path} must be what was written, because runs are made of it, but "
            f"{how}; try removing the folder {self._path.parent}: it is made again"
        )
