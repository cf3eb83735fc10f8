"""What one step of a cell takes on the devices at hand: compiled as training would, and timed."""

import math
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax

from launch.config import RunConfig
from launch.ladder.cells import Cell
from launch.process import runtime
from launch.run import build
from tests.bench.batch import random_batch
from train.feed import local_rows, replicated, to_global
from train.guard.spikes import NO_CEILING

UNTIMED, TIMED = 2, 10
LEAST_SECONDS, MOST_SECONDS = 1.0, 20.0


class Step(NamedTuple):
    """Of one device."""

    bytes: int
    """Memory of the state, the batch and all that exists in between, by the compiler."""
    room: int
    """Memory that the device has."""
    seconds: float
    """Median of a few steps on random tokens; NaN if they do not fit. Evaluation, saving and
    starting are not counted."""


def measure(cells: Sequence[Cell]) -> Iterator[Step]:
    """Compile the train step of each cell for this machine's devices and time it, each shape once,
    in order."""
    base = cells[0].config
    mesh = runtime.start(base.mesh, base.distributed, cache_dir=base.data.cache_dir)
    known: dict[object, Step] = {}
    for cell in cells:
        shape = (cell.config.model, cell.config.train.batch_size)
        if shape not in known:
            with jax.set_mesh(mesh):
                known[shape] = _measure(cell.config)
        yield known[shape]


def _measure(config: RunConfig) -> Step:
    model = config.model.resolve(jax.default_backend())
    train = build.resolve_train(config.train, model, jax.default_backend())
    length = config.data.sequence_length
    build.check_batch(train, length, model)
    fresh = build.fresh_state(model, train)
    packed = config.data.packing
    tokens = random_batch(train.batch_size, length, model.vocabulary or 1, packed=packed)
    step, _ = build.compile_train_step(jax.eval_shape(fresh), train, tokens)
    memory = step.memory_analysis()
    assert memory is not None, "CPU, GPU and TPU compilers tell it"
    size = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    size += memory.output_size_in_bytes - memory.alias_size_in_bytes
    if size > _room():
        return Step(size, _room(), math.nan)
    rows = local_rows(train.batch_size)
    batch = to_global(tokens, rows, train.batch_size)
    rate, ceiling = replicated(0.0), replicated(NO_CEILING)
    state = build.make_fresh_state(fresh)
    seconds: list[float] = []
    while sum(seconds) < (LEAST_SECONDS if len(seconds) >= UNTIMED + TIMED else MOST_SECONDS):
        began = time.perf_counter()
        state, metrics = step(state, batch, rate, ceiling)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - began)
    return Step(size, _room(), statistics.median(seconds[UNTIMED:] or seconds))


def room() -> int:
    """Bytes of memory that all devices have together."""
    cpu = jax.default_backend() == "cpu"
    return _room() * (1 if cpu else jax.local_device_count())


def _room() -> int:
    """Bytes of memory that a device has; of a CPU, the machine's."""
    device = jax.local_devices()[0]
    told = device.memory_stats()
    if told and "bytes_limit" in told:
        return told["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
