"""Reading a finished token store: files are mapped, each block is checked when first touched."""

import json
import zipfile
import zlib
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np

from data.shard import BLOCK, unpack_names

MANIFEST = "manifest.json"


class Store:
    """A finished store: one stream a split."""

    def __init__(self, folder: Path) -> None:
        self.digest = folder.name
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
        self._starts = [0, *accumulate(shard.tokens for shard in self._shards)]
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

    def origin(self, token: int) -> str:
        """File and place of the document that holds the token of this number."""
        number = self._numbers(np.array([token]))[0]
        return self._shards[number].origin(token - self._starts[number])

    def _numbers(self, tokens: np.ndarray) -> list[int]:
        """Which shard each token lies in."""
        return (np.searchsorted(self._starts, tokens, side="right") - 1).tolist()


class Shard:
    """One token file, mapped when first read."""

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
        """Tokens start..stop, from blocks whose checksum has been found right."""
        first, last = start // self._per_block, (stop - 1) // self._per_block
        if any(self._unchecked[first : last + 1]):
            self.check(first, last + 1)
        return self._map[start:stop]

    def check(self, first: int, stop: int | None = None) -> None:
        """Compare the blocks first..stop with their checksums; ValueError names a wrong one."""
        for block in range(first, len(self._unchecked) if stop is None else stop):
            content = self._map[block * self._per_block : (block + 1) * self._per_block]
            if zlib.crc32(content.tobytes()) != self._checksums[block]:
                raise self._damaged(f"its bytes from {block * BLOCK:,} on have a wrong checksum")
            self._unchecked[block] = 0

    def origin(self, token: int) -> str:
        """File and place of the document that holds the token."""
        document = int(np.searchsorted(self._load("ends"), token, side="right"))
        file = int(np.searchsorted(self._load("file_ends"), document, side="right"))
        return f"{unpack_names(self._load('files'))[file]} at {self._load('places')[document]}"

    @cached_property
    def _map(self) -> np.ndarray:
        # A plain array over the map: slicing numpy.memmap itself costs five times as much.
        return np.asarray(np.memmap(self._path, self._type, "r"))

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

    def _damaged(self, how: str) -> ValueError:
        return ValueError(
            f"the token file {self._path} must be what was written, because training reads it, but "
            f"{how}; try removing the folder {self._path.parent}, and it is made again"
        )
