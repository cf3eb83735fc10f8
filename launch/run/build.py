"""From a RunConfig to what runs: the config resolved for this backend, states, steps, checks."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from data.batch import Axes, Batch, Kind, map_fields
from data.errors import UserError
from data.rows.rows import Rows
from launch.config import RunConfig
from launch.pretrained.checkpoint import absolute
from model.families.family import FamilyConfig
from model.sharding import axis_size, spec
from train.config import TrainConfig
from train.evaluate import evaluate
from train.feed import local_rows
from train.loss import choose_chunk
from train.optimizer.schedule import learning_rate
from train.state import TrainState, init_state
from train.step import make_eval_step, make_train_step


def resolve(config: RunConfig, backend: str) -> RunConfig:
    """`config` with all settled that depends on the backend (compute type, attention kernel, tokens
    whose logits exist at a time) or on the working directory (paths of the data)."""
    model = config.model.resolve(backend)
    train = resolve_train(config.train, model, backend)
    weights = None if config.start_from is None else absolute(config.start_from)
    return dataclasses.replace(
        config, model=model, train=train, data=config.data.absolute(), start_from=weights
    )


def remembered(config: RunConfig, unresolved: RunConfig) -> RunConfig:
    """What a run's files keep of the resolved `config`: what every backend may settle again stays
    as it was, all but the compute type."""
    model = dataclasses.replace(unresolved.model, dtype=config.model.dtype)
    return dataclasses.replace(config, model=model, train=unresolved.train)


def resolve_train(config: TrainConfig, model: FamilyConfig, backend: str) -> TrainConfig:
    """`config` with the tokens whose logits exist at a time settled for the backend."""
    return dataclasses.replace(
        config, loss_chunk=config.loss_chunk or choose_chunk(max(1, model.table_rows), backend)
    )


def check_batch(config: TrainConfig, length: int, model: FamilyConfig) -> None:
    """Raise ValueError if the batch cannot be cut over the current mesh and its micro-batches."""
    shards = axis_size("batch")
    parts = shards * config.accumulation
    if config.batch_size % parts:
        raise UserError(
            f"train.batch_size={config.batch_size} must be a multiple of {parts}, because each of "
            f"train.accumulation={config.accumulation} micro-batches is cut over "
            f"{shards} shard{'s' * (shards != 1)} (mesh.replica x mesh.fsdp); "
            f"try --train.batch-size {-(-config.batch_size // parts) * parts}"
        )
    if model.longest_row is not None and length > model.longest_row:
        raise UserError(
            f"data.sequence_length={length} must be at most model.max_length={model.longest_row}, "
            f"because the model has no later positions; try --model.max-length {length}"
        )


def fresh_state(config: FamilyConfig, train: TrainConfig) -> Callable[[], TrainState]:
    """A function without arguments that builds the initial state; `jax.eval_shape` of it is the
    restore target."""
    return lambda: init_state(config, train.optimizer, jax.random.key(train.seed))


def make_fresh_state(fresh: Callable[[], TrainState]) -> TrainState:
    """The initial state on the devices; compiled at a low level, which takes half the time."""
    return jax.jit(fresh, compiler_options={"xla_backend_optimization_level": 1})()


def step_arguments(
    state: TrainState, batch: Kind
) -> tuple[TrainState, Kind, jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """What the train step is traced with on the current mesh, devices or not, for batches like
    `batch`, of which only shapes and types are read."""
    mesh = jax.sharding.get_abstract_mesh()

    def shape(array: np.ndarray, axes: Axes) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(mesh, spec(*axes))
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    rate = jax.ShapeDtypeStruct((), np.float32, sharding=NamedSharding(mesh, spec()))
    ceiling = jax.ShapeDtypeStruct((2,), np.float32, sharding=rate.sharding)
    return state, map_fields(shape, batch), rate, ceiling


def lower_train_step(state: TrainState, train: TrainConfig, batch: Batch) -> jax.stages.Lowered:
    """The train step traced for the shapes of `state` and `batch` on the current mesh; ValueError
    for shapes that a part of it cannot take."""
    return make_train_step(train).lower(*step_arguments(state, batch))


def compile_train_step(
    state: TrainState, train: TrainConfig, batch: Batch
) -> tuple[jax.stages.Compiled, float]:
    """The train step compiled for the shapes of `state` and `batch` on the current mesh, and the
    seconds it took."""
    began = time.perf_counter()
    compiled = lower_train_step(state, train, batch).compile()
    return compiled, time.perf_counter() - began


def schedule(train: TrainConfig, first_batch_size: int) -> Callable[[int], float]:
    """Learning rate as a function of rows seen; steps are counted in the run's first batch size."""
    return lambda examples: learning_rate(train.optimizer, examples / first_batch_size, train.steps)


class Evaluator:
    """Measures states on the first `batches` batches of `rows`, None for all.

    judged: the rows of the last evaluation and what the model said of each, if its objective keeps
    that.
    """

    def __init__(self, train: TrainConfig, rows: Rows, *, batches: int | None) -> None:
        self.rows = rows
        self.judged: tuple[np.ndarray, Any] | None = None
        self._eval_step, self._batch_size = make_eval_step(train), train.batch_size
        self._local, self._batches = local_rows(train.batch_size), batches

    def __call__(self, state: TrainState) -> dict[str, float]:
        B, local, rows = self._batch_size, self._local, self.rows
        numbered = itertools.islice(enumerate(rows.batches(0, B, local)), self._batches)
        counted = ((batch, rows.counts(number * B + local)) for number, batch in numbered)
        return evaluate(
            state.evaluated, counted, self._eval_step, rows=local, batch_size=B, score=self._score
        )

    def _score(self, outputs: Any) -> Mapping[str, float]:
        count = min(len(jax.tree.leaves(outputs)[0]), self.rows.num_rows)
        self.judged = np.arange(count), jax.tree.map(lambda array: array[:count], outputs)
        return self.rows.score(*self.judged)


def require_checks(train: TrainConfig, *, deterministic: bool) -> None:
    """ValueError for a check for corruption that would always find some here."""
    wanted = train.corruption
    if wanted.recompute and jax.default_backend() == "gpu" and not deterministic:
        raise UserError(
            "train.corruption.recompute=True must come with deterministic=True on GPU, because "
            "other kernels give other bits each time; try --deterministic"
        )
