"""Reading a finished token store: each block is checked when first touched."""

import os
import weakref
import zipfile
import zlib
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np

from data.errors import UserError
from data.shard import BLOCK, unpack_names
from data.system import read_json

MANIFEST = "manifest.json"
BOUNDARY = -1
"""What stands between documents in windows, whatever token their store wrote there."""


class Store:
    """A finished store: one stream a split."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.digest = folder.name
        try:
            manifest = read_json(folder / MANIFEST)
            kind = np.dtype(manifest["type"])
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{folder / MANIFEST} must be the manifest that was written when its tokens were "
                f"ready, because training reads them by it, but {error}; try removing the folder "
                f"{folder}, and it is made again"
            ) from error
        self.text = manifest.get("text", [])
        """What the tokenizer lost, by shard; empty if the store is older than the count."""
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
        self._starts = [0, *accumulate(shard.tokens for shard in self._shards)]
        """First token of each shard."""
        self.num_tokens = self._starts[-1]
        self.num_documents = sum(shard.documents for shard in shards)
        self.num_bytes = sum(shard.bytes for shard in shards)

    def read(self, starts: np.ndarray, out: np.ndarray) -> None:
        """Fill each row of out, [n, length], with the tokens from its start on."""
        numbers = self._numbers(starts)
        for row, start, number in zip(out, starts.tolist(), numbers, strict=True):
            filled = 0
            while filled < len(row):
                shard = self._shards[number]
                begin = start + filled - self._starts[number]
                tokens = shard.read(begin, min(begin + len(row) - filled, shard.tokens))
                row[filled : filled + len(tokens)] = tokens
                filled += len(tokens)
                number += 1

    @cached_property
    def boundary(self) -> int:
        """The id that follows every document; no text holds it. There must be a token."""
        last = self._shards[-1]
        return int(last.read(last.tokens - 1, last.tokens)[0])

    def windows(self, starts: np.ndarray, out: np.ndarray) -> None:
        """Fill each row of out, int [n, 1 + length], with the token before its start and the tokens
        from there on; a BOUNDARY is before the first token of all."""
        out[:, 0] = self.boundary
        inside = starts > 0
        rows = out[inside]
        self.read(starts[inside] - 1, rows)
        out[inside] = rows
        first = out[~inside, 1:]
        self.read(starts[~inside], first)
        out[~inside, 1:] = first
        out[out == self.boundary] = BOUNDARY

    def before(self, token: int, most: int) -> np.ndarray:
        """At most so many tokens of its document before this one."""
        start = max(token - most, 0)
        out = np.empty((1, token - start), np.int32)
        self.read(np.array([start]), out)
        return out[0, np.append(-1, np.flatnonzero(out[0] == self.boundary))[-1] + 1 :]

    def origin(self, token: int) -> str:
        """File and place of the document that holds the token of this number."""
        number = self._numbers(np.array([token]))[0]
        return self._shards[number].origin(token - self._starts[number])

    def _numbers(self, tokens: np.ndarray) -> list[int]:
        """Which shard each token lies in."""
        return (np.searchsorted(self._starts, tokens, side="right") - 1).tolist()


class Shard:
    """One token file, opened when first read."""

    def __init__(self, path: Path, counts: dict[str, int], kind: np.dtype) -> None:
        self._path = path.with_name(f"{path.name}.tokens")
        self._type = kind
        self._per_block = BLOCK // kind.itemsize
        self.tokens = counts["tokens"]
        self.documents = counts["documents"]
        self.bytes = counts["bytes"]
        expected = self.tokens * kind.itemsize
        size = self._path.stat().st_size if self._path.exists() else 0
        if size != expected:
            raise self._damaged(f"it has {size:,} bytes and not {expected:,}")

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens start..stop, from blocks whose checksum was right."""
        first, last = start // self._per_block, (stop - 1) // self._per_block
        if any(self._unchecked[first : last + 1]):
            self.check(first, last + 1)
        size = self._type.itemsize
        return np.frombuffer(self._bytes(start * size, stop * size), self._type)

    def check(self, first: int, stop: int | None = None) -> None:
        """Compare the blocks first..stop with their checksums; ValueError names a wrong one."""
        for block in range(first, len(self._unchecked) if stop is None else stop):
            end = min((block + 1) * BLOCK, self.tokens * self._type.itemsize)
            if zlib.crc32(self._bytes(block * BLOCK, end)) != self._checksums[block]:
                raise self._damaged(f"its bytes from {block * BLOCK:,} on have a wrong checksum")
            self._unchecked[block] = 0

    def origin(self, token: int) -> str:
        """File and place of the document that holds the token."""
        document = int(np.searchsorted(self._load("ends"), token, side="right"))
        file = int(np.searchsorted(self._load("file_ends"), document, side="right"))
        return f"{unpack_names(self._load('files'))[file]} at {self._load('places')[document]}"

    def _bytes(self, start: int, stop: int) -> bytes:
        """Bytes start..stop of the file.

        They are not mapped: a thread that waits for a page holds Python's lock, so that a disk
        which does not answer would stop the watchdog too, and a file cut short would be a SIGBUS.
        """
        content = os.pread(self._descriptor, stop - start, start)
        while len(content) < stop - start:  # some network file systems return less than asked for
            at = start + len(content)
            if not (more := os.pread(self._descriptor, stop - at, at)):
                raise self._damaged(f"it ends after {at:,} bytes")
            content += more
        return content

    @cached_property
    def _descriptor(self) -> int:
        descriptor = os.open(self._path, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    @cached_property
    def _checksums(self) -> np.ndarray:
        return self._load("checksums")

    @cached_property
    def _unchecked(self) -> bytearray:
        return bytearray(b"\1") * len(self._checksums)

    def _load(self, name: str) -> np.ndarray:
        """One array of the index, which checks itself: a zip file has a CRC for each member."""
        try:
            with np.load(self._path.with_suffix(".npz")) as index:
                return index[name]
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise self._damaged(f"its index {self._path.stem}.npz is damaged ({error})") from error

    def _damaged(self, how: str) -> UserError:
        return UserError(
            f"the token file {self._path} must be what was written, because training reads it, but "
            f"{how}; try removing the folder {self._path.parent}, and it is made again"
        )
