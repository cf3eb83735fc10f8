"""From this process's NumPy rows to global arrays, one batch ahead of the step."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float

from data.batch import Axes, Batch, Kind, map_fields
from data.errors import UserError
from model.sharding import spec


class Fed(NamedTuple):
    """One step's input on the devices, and what the host knows of it."""

    batch: Batch
    learning_rate: Float[Array, ""]
    rate: float
    """The learning rate as the host computed it."""
    rows: tuple[int, int]
    """First row of the batch, and the first after it, counted in rows trained on."""
    waited: float
    """Seconds the step waited for this batch."""


def local_rows(batch_size: int) -> np.ndarray:
    """Sorted indices of the batch's rows that live on this process's devices of the mesh."""
    sharding = NamedSharding(jax.sharding.get_mesh(), spec("batch"))
    shards = sharding.addressable_devices_indices_map((batch_size,)).values()
    own = np.zeros(batch_size, bool)
    for index in shards:
        own[index] = True
    return np.flatnonzero(own)


def to_global(batch: Kind, rows: np.ndarray, batch_size: int) -> Kind:
    """The global arrays of `batch_size` rows of which this process holds `rows`."""
    mesh = jax.sharding.get_mesh()

    def place(local: np.ndarray, axes: Axes) -> Array:
        n = axes.index("batch")

        def shard(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            first, last, _ = index[n].indices(batch_size)
            start = int(np.searchsorted(rows, first))
            return local[(*index[:n], slice(start, start + last - first), *index[n + 1 :])]

        shape = (*local.shape[:n], batch_size, *local.shape[n + 1 :])
        return jax.make_array_from_callback(shape, NamedSharding(mesh, spec(*axes)), shard)

    return map_fields(place, batch)


def replicated(value: float | tuple[float, ...]) -> Float[Array, "..."]:
    """A float32 scalar or vector on every device of the current mesh."""
    sharding = NamedSharding(jax.sharding.get_mesh(), spec())
    array = np.asarray(value, np.float32)
    return jax.make_array_from_callback(array.shape, sharding, lambda _: array)


class Feed:
    """Iterates over `Fed`, the next one made in a thread; what fails there is raised by `next`."""

    def __init__(
        self,
        batches: Iterator[Batch],
        *,
        start: int,
        batch_size: int,
        schedule: Callable[[int], float],
    ) -> None:
        self._mesh = jax.sharding.get_mesh()
        self._ready: queue.Queue[Fed | BaseException] = queue.Queue(maxsize=1)
        self._stop = threading.Event()
        arguments = (batches, start, batch_size, schedule)
        self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
        self._thread.start()

    def __next__(self) -> Fed:
        began = time.perf_counter()
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item._replace(waited=time.perf_counter() - began)

    def close(self) -> None:
        """Stop the thread; batches made ahead are forgotten, since the position is the loop's."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(timeout=0.01)

    def _run(
        self,
        batches: Iterator[Batch],
        start: int,
        batch_size: int,
        schedule: Callable[[int], float],
    ) -> None:
        try:
            with jax.set_mesh(self._mesh):
                rows = local_rows(batch_size)
                for batch in batches:
                    rate = schedule(start)
                    item = Fed(
                        to_global(batch, rows, batch_size),
                        replicated(rate),
                        rate,
                        (start, start + batch_size),
                        0.0,
                    )
                    self._ready.put(item)
                    if self._stop.is_set():
                        return
                    start += batch_size
            raise UserError(
                f"data must not end, because the run wants row {start}; try fewer --train.steps"
            )
        except BaseException as error:
            self._ready.put(error)
