"""Pretrained weights onto one of many processes: its peak memory, and its rate next to the disk's.

`python -m tests.bench.pretrained` writes a Llama of 70 B parameters as sparse files, and reads the
share of one of 64 devices; `--model 1b` writes random numbers, which lie on the disk, and reads
that of one of four. What devices exchange afterwards is left out, as they are not there.
"""

import functools
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import psutil
from annotated_types import Interval
from jax.sharding import PartitionSpec

from launch.pretrained.checkpoint import open_pretrained
from launch.pretrained.exchange import RowLayout, fill, row_layout
from launch.pretrained.match import TensorPlace, match
from launch.pretrained.read import read_rows, read_shard
from launch.process import runtime
from launch.process.progress import Progress
from launch.schema.command_line import run_module
from model.sharding import abstract_mesh
from tests.bench.llama_files import write
from tests.models import mesh_of
from train.checkpoint.tree import named_leaves

Model = Literal["70b", "1b", "tiny"]
MESHES = {
    "70b": ({"fsdp": 64}, {"fsdp": 8, "tensor": 8}),
    "1b": ({"fsdp": 4}, {"fsdp": 2, "tensor": 2}),
    "tiny": ({"fsdp": 4}, {"fsdp": 2, "tensor": 2}),
}
BARS = {"peak": 1.3, "rate": 0.6}
"""Bytes at most as a share of the shard's; bytes a second at least as a share of the disk's."""
BLOCK = 8 << 20


def main(
    model: Model = "70b",
    folder: Path | None = None,
    rounds: Annotated[int, Interval(ge=1, le=1000)] = 3,
) -> None:
    """Print peaks and rates as JSON.

    Args:
        model: What is read.
        folder: Where its files are, or are to be written; by default a temporary folder.
        rounds: Reads of each mesh, each in a process of its own that reads plainly before or after.
    """
    with tempfile.TemporaryDirectory() as own, Progress() as report:
        place = folder or Path(own)
        if not (place / "config.json").exists():
            report("writing the checkpoint")
            write(place, model)
        results: dict[str, object] = {"bars": BARS}
        for mesh in MESHES[model]:
            name = " x ".join(f"{axis} {size}" for axis, size in mesh.items())
            measured = []
            for number in range(rounds):
                report(f"reading for {name}, {number + 1} of {rounds}")
                words = [str(place), json.dumps(mesh), str(number % 2)]
                code = (
                    "import sys; from tests.bench import pretrained as bench; "
                    "bench.read_share(*sys.argv[1:])"
                )
                done = subprocess.run(
                    [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, check=True
                )
                measured.append(json.loads(done.stdout))
            results[name] = {
                key: statistics.median(each[key] for each in measured) for key in measured[0]
            }
    print(json.dumps(results, indent=2))


def read_share(folder: str, mesh: str, plain_first: str) -> None:
    """Print one measurement, of this process."""
    print(json.dumps(measure(Path(folder), json.loads(mesh), plain_first=plain_first == "1")))


def measure(folder: Path, sizes: dict[str, int], *, plain_first: bool) -> dict[str, float]:
    """Peak and rate of the share of the first device of a mesh of those sizes, into arrays that are
    there, as a fresh state's are."""
    runtime.keep_freed_memory()
    pretrained = open_pretrained(f"hf:{folder}")
    matched = match(pretrained, pretrained.model)
    with jax.sharding.use_abstract_mesh(abstract_mesh(**sizes)):
        key = jax.eval_shape(jax.random.key, 0)
        leaves = named_leaves(jax.eval_shape(pretrained.model.build, key))
    files = {tensor.path for tensor in pretrained.tensors.values()}
    size = sum(path.stat().st_size for path in files) // math.prod(sizes.values())
    plain = [plainly(files, size)] if plain_first else []
    process = psutil.Process()
    with jax.set_mesh(mesh_of()):
        jax.block_until_ready(jnp.zeros(1))
        before = process.memory_info().rss
        shares = {
            name: RowShare.of(matched.places[name], leaf, sizes) for name, leaf in leaves.items()
        }
        arrays = {
            name: jnp.zeros(share.shape, out_sharding=PartitionSpec())
            for name, share in shares.items()
        }
        times, worked = [], 0.0
        for _ in ("with compiling", "compiled"):
            forget(files)
            jax.block_until_ready(arrays)
            began, worked = time.perf_counter(), time.process_time()
            for name, share in shares.items():
                arrays[name] = share.read(arrays[name])
            jax.block_until_ready(arrays)
            times.append(time.perf_counter() - began)
            worked = time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    shard = sum(array.nbytes for array in arrays.values())
    plain = plain or [plainly(files, size)]
    return {
        "shard_bytes": shard,
        "peak_bytes": peak,
        "peak": round(peak / shard, 3),
        "read_bytes": size,
        "first_seconds": round(times[0], 2),
        "seconds": round(times[1], 2),
        "processor_seconds": round(worked, 2),
        "plain_seconds": round(plain[0], 2),
        "rate": round(plain[0] / times[1], 3),
    }


class RowShare(NamedTuple):
    """What the first device reads of a weight."""

    place: TensorPlace
    whole: tuple[int, ...]
    shape: tuple[int, ...]
    layout: RowLayout | None
    """As if its rows were all."""

    @classmethod
    def of(cls, place: TensorPlace, leaf: Any, sizes: dict[str, int]) -> "RowShare":
        shape = leaf.sharding.shard_shape(leaf.shape)
        mesh = {axis: sizes.get(axis, 1) for axis in leaf.sharding.mesh.shape}
        layout = row_layout(place, leaf.sharding.spec, mesh)
        if layout is None:
            return cls(place, leaf.shape, shape, None)
        rows = layout.rows // math.prod(mesh[axis] for axis in layout.axes)
        alone = layout._replace(rows=rows, row_axes=(), column_axes=())
        own = (rows, layout.columns) if place.weight.is_table else shape
        return cls(place, leaf.shape, own, alone)

    def read(self, array: jax.Array) -> jax.Array:
        """The numbers, in that array."""
        if self.layout is None:
            index = tuple(slice(0, size) for size in self.shape)
            return jax.device_put(read_shard(self.place, self.whole, index))
        read = functools.partial(read_rows, self.place, outputs_first=self.layout.outputs_first)
        return fill(array, self.layout, self.place, read)


def forget(files: set[Path]) -> None:
    """Have the system keep nothing of the files in memory."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plainly(files: set[Path], size: int) -> float:
    """Seconds in which so many bytes are read one after the other."""
    forget(files)
    buffer = memoryview(bytearray(BLOCK))
    began, left = time.perf_counter(), size
    for path in sorted(files):
        with path.open("rb", buffering=0) as file:
            place = 0
            while left > 0 and (count := os.preadv(file.fileno(), [buffer[:left]], place)):
                place, left = place + count, left - count
    return time.perf_counter() - began


if __name__ == "__main__":
    run_module(main, "tests.bench.pretrained")
