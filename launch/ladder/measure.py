"""What one step of a cell takes on the devices at hand: compiled as training would, and timed."""

import itertools
import math
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from launch.config import RunConfig
from launch.ladder.cells import Cell
from launch.ladder.short import Report, ShortRun
from launch.process import runtime
from launch.run.room import device_memory
from train.feed import local_rows, to_global

UNTIMED, TIMED = 2, 10
MIN_SECONDS, MAX_SECONDS = 1.0, 20.0


class Step(NamedTuple):
    """Of one device."""

    bytes: int
    """Memory of the state, the batch and all that exists in between, by the compiler."""
    room: int
    """Memory that the device has."""
    seconds: float
    """Median of a few steps, whose time is that of any tokens; NaN if they do not fit. Evaluation,
    saving and starting are not counted."""


def measure(cells: Sequence[Cell], report: Report) -> list[Step]:
    """Compile the train step of each cell for the devices here and time it, each shape once."""
    base = cells[0].config
    mesh = runtime.start(base.mesh, base.distributed, cache_dir=base.data.cache_dir)
    known: dict[object, Step] = {}
    shapes = [(cell.config.model, cell.config.train.batch_size) for cell in cells]
    for cell, shape in zip(cells, shapes, strict=True):
        if shape not in known:
            report(f"compiling and timing a step of width {cell.width}")
            with jax.set_mesh(mesh):
                known[shape] = _measure(cell.config)
    return [known[shape] for shape in shapes]


def _measure(config: RunConfig) -> Step:
    run = ShortRun(config)
    if run.bytes > device_memory():
        return Step(run.bytes, device_memory(), math.nan)
    size = config.train.batch_size
    shapes = config.data.batch_shapes(size)
    ones = jax.tree.map(lambda part: np.ones(part.shape, part.dtype), shapes)
    batch = to_global(ones, local_rows(size), size)
    rate = config.train.optimizer.learning_rate
    seconds: list[float] = []
    states = run.states(itertools.repeat(batch), rate, config.train.seed)
    next(states)
    while sum(seconds) < (MIN_SECONDS if len(seconds) >= UNTIMED + TIMED else MAX_SECONDS):
        began = time.perf_counter()
        jax.block_until_ready(next(states))
        seconds.append(time.perf_counter() - began)
    return Step(run.bytes, device_memory(), statistics.median(seconds[UNTIMED:] or seconds))


def room() -> int:
    """Bytes of memory that all devices have together."""
    return device_memory() * jax.local_device_count()
