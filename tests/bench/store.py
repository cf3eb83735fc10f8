"""Token stores compared: our plain files with block checksums against TensorStore (zarr3, crc32c).

`python -m tests.bench.store` writes random tokens both ways, reads the same windows in rounds that
take turns, and prints medians in millions of tokens a second, and ratios to ours, as JSON.
"""

import json
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import tensorstore as ts
from annotated_types import Interval

from data.shard import BLOCK
from data.stream import Shard, Stream
from launch.process.progress import Progress
from launch.schema.command_line import run_module

WINDOWS = 64
Reader = Callable[[np.ndarray, np.ndarray], None]


def main(
    tokens: Annotated[int, Interval(ge=100_000, le=10**10)] = 16_000_000,
    rounds: Annotated[int, Interval(ge=1, le=10_000)] = 15,
) -> None:
    """Print the comparison as JSON.

    Args:
        tokens: Tokens in the store, two bytes each.
        rounds: Rounds; each reads WINDOWS windows 10 times with each reader.
    """
    with tempfile.TemporaryDirectory() as folder:
        with Progress() as report:
            report(f"reading a store of {tokens:,} tokens in {rounds} rounds")
            measured = compare(Path(folder), tokens, rounds)
        print(json.dumps(measured, indent=2))


def compare(folder: Path, tokens: int, rounds: int) -> dict[str, dict[str, float]]:
    """Millions of tokens a second by access and reader, and each reader's ratio to ours."""
    values = np.random.default_rng(0).integers(0, 50_000, tokens, np.uint16)
    cached = _tensorstore(folder / "zarr3", values, cache=4 * tokens)
    readers: dict[str, Reader] = {
        "plain, checked once": Stream([_shard(folder, values)]).read,
        "plain, checked at each read": _always_checked(_shard(folder, values)),
        "tensorstore, cached": cached,
        "tensorstore, uncached": _tensorstore(folder / "zarr3", values, cache=0),
    }
    rng = np.random.default_rng(1)
    results = {}
    for length in (256, 2048):
        batch = WINDOWS * length
        for access in ("sequential", "random"):
            times: dict[str, list[float]] = {name: [] for name in readers}
            for i in range(rounds + 1):
                first = i * batch % (tokens - batch)
                starts = first + np.arange(WINDOWS) * length
                if access == "random":
                    starts = rng.integers(0, tokens - length, WINDOWS)
                for name, read in readers.items():
                    out = np.empty((WINDOWS, length), np.int32)
                    began = time.perf_counter()
                    for shift in range(10):
                        read((starts + shift * 7919 * length) % (tokens - length), out)
                    times[name].append((time.perf_counter() - began) / 10)
            # The first round opens files and is left out.
            rates = {n: batch / statistics.median(t[1:]) / 1e6 for n, t in times.items()}
            ours = rates["plain, checked once"]
            ratios = {f"{name} (ratio)": round(rate / ours, 4) for name, rate in rates.items()}
            shown = {name: round(rate, 2) for name, rate in rates.items()}
            results[f"{access} windows of {length}"] = shown | ratios
    return results


def _shard(folder: Path, values: np.ndarray) -> Shard:
    (folder / "00000.train.tokens").write_bytes(values.tobytes())
    np.savez(folder / "00000.train.npz", checksums=np.array(_checksums(values), np.uint32))
    counts = {"tokens": len(values), "documents": 1, "bytes": len(values)}
    return Shard(folder / "00000.train", counts, np.dtype("<u2"))


def _always_checked(shard: Shard) -> Reader:
    size = BLOCK // 2

    def read(starts: np.ndarray, out: np.ndarray) -> None:
        for row, start in zip(out, starts.tolist(), strict=True):
            shard.check(start // size, (start + len(row) - 1) // size + 1)
            row[:] = shard.read(start, start + len(row))

    return read


def _checksums(values: np.ndarray) -> list[int]:
    content = values.tobytes()
    return [zlib.crc32(content[i : i + BLOCK]) for i in range(0, len(content), BLOCK)]


def _tensorstore(path: Path, values: np.ndarray, cache: int) -> Reader:
    """One shard file of chunks of BLOCK bytes, each with its crc32c."""
    inner = [{"name": "bytes"}, {"name": "crc32c"}]
    chunks = BLOCK // 2
    shard = -(-len(values) // chunks) * chunks
    sharding = {"chunk_shape": [chunks], "codecs": inner, "index_codecs": inner}
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path)},
        "metadata": {
            "shape": [len(values)],
            "data_type": "uint16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [shard]}},
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        },
        "context": {"cache_pool": {"total_bytes_limit": cache}},
    }
    existed = path.exists()
    store = ts.open(spec, create=True, open=True).result()
    if not existed:
        store.write(values).result()

    def read(starts: np.ndarray, out: np.ndarray) -> None:
        reads = [store[start : start + out.shape[1]].read() for start in starts.tolist()]
        for row, future in zip(out, reads, strict=True):
            row[:] = future.result()

    return read


if __name__ == "__main__":
    run_module(main, "tests.bench.store")
