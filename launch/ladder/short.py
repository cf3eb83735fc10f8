"""Short runs of one model in this process, to time its steps and to compare models of several
widths."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax

from data.batch import Batch
from launch.config import RunConfig
from launch.run import build
from launch.run.room import step_bytes
from train.feed import local_rows, replicated, to_global
from train.guard.spikes import NO_CEILING
from train.state import TrainState, init_state

Report = Callable[[str], None]
"""Called with a line for each thing that is done."""


class ShortRun:
    """A model compiled once on the current mesh, to be trained from the start again and again."""

    def __init__(self, config: RunConfig) -> None:
        backend = jax.default_backend()
        self.model = config.model.resolve(backend)
        self.train = build.resolve_train(config.train, self.model, backend)
        length, optimizer = config.data.sequence_length, self.train.optimizer
        build.check_batch(self.train, length, self.model)
        self._fresh = jax.jit(
            lambda key: init_state(self.model, optimizer, key),
            compiler_options={"xla_backend_optimization_level": 1},
        )
        state = jax.eval_shape(self._fresh, jax.random.key(0))
        shapes = config.data.batch_shapes(self.train.batch_size)
        self._step, _ = build.compile_train_step(state, self.train, shapes)

    @property
    def bytes(self) -> int:
        """Memory of a device that a step takes, by the compiler."""
        size = step_bytes(self._step)
        assert size is not None, "the compilers of CPU, GPU and TPU have it"
        return size

    def states(
        self, batches: Iterable[Batch], rate: float, seed: int
    ) -> Iterator[tuple[TrainState, float]]:
        """The initial state, then that after every step with the loss that the step began with.

        `rate` is the peak of the schedule. A state is given up once the next is asked for.
        """
        optimizer = dataclasses.replace(self.train.optimizer, learning_rate=rate)
        rates = build.schedule(dataclasses.replace(self.train, optimizer=optimizer), 1)
        ceiling = replicated(NO_CEILING)
        state = self._fresh(jax.random.key(seed))
        yield state, math.nan
        for number, batch in enumerate(batches):
            state, metrics = self._step(state, batch, replicated(rates(number)), ceiling)
            yield state, float(metrics.loss)


def batches_of(config: RunConfig) -> list[Batch]:
    """The batches of a short run on the current mesh, the same for every model of its rows."""
    rows = config.data.open_rows("train")
    rows.check(config.model)
    size = config.train.batch_size
    own = local_rows(size)
    return [
        to_global(batch, own, size)
        for _, batch in zip(range(config.train.steps), rows.batches(0, size, own), strict=False)
    ]


def short_runs(base: RunConfig, widths: Sequence[int]) -> list[tuple[str, int, ShortRun]]:
    """`base` at every width under the standard parametrization, and then under muP; ValueError for
    a family that does not know muP."""
    models = [
        (k, width, base.model.widened(width, k)) for k in ("standard", "mup") for width in widths
    ]
    return [
        (k, width, ShortRun(dataclasses.replace(base, model=model))) for k, width, model in models
    ]
