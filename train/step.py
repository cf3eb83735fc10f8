"""The jitted train and evaluation steps: pure functions of state and batch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from data.batch import Axes, Batch, Kind, map_fields
from model.sharding import spec
from train.config import TrainConfig
from train.objective import Sums, objective_of, total_weight
from train.optimizer.transform import gradient_transform
from train.state import TrainState

NOISE = 0x6E6F6973
"""Folded into the seed's key, whose first splits draw the initial weights."""


NOTHING = 1e-6
"""Weight below which a batch counts as one without targets."""


class Metrics(NamedTuple):
    """Scalars of one step, on the device until the loop reads them a step later."""

    loss: Float[Array, ""]
    """Mean loss of the weighted targets; of a cross entropy, in nats."""
    grad_norm: Float[Array, ""]
    """Global norm of the gradient before clipping."""
    updated: Float[Array, ""]
    """1 if the update was made; 0 if loss or gradient norm was not finite or above the ceiling."""


def gradients(
    model: Any, batch: Batch, config: TrainConfig, key: PRNGKeyArray | None = None
) -> tuple[Float[Array, ""], Any, Float[Array, ""]]:
    """Mean loss, the gradient of what is minimized and the weight of the targets, micro-batch by
    micro-batch.

    The weights are divided by those of the whole batch, so that accumulation does not change the
    loss. Micro-batch m has the key fold_in(key, m), the only one m = 0: what is random differs from
    one number of micro-batches to another.
    """
    objective, weight = objective_of(type(batch)), total_weight(batch)

    def loss(model: Any, batch: Batch, number: Array | int) -> tuple[Array, Array]:
        share = batch._replace(weights=batch.weights / jnp.maximum(weight, NOTHING))
        own = None if key is None else jax.random.fold_in(key, number)
        sums = objective(model, share, config, own)
        return sums.minimized, sums.loss

    gradient = jax.value_and_grad(loss, has_aux=True)
    if config.accumulation == 1:
        (_, mean), grads = gradient(model, batch, 0)
        return mean, grads, weight

    def add(total: tuple[Array, Any], micro: tuple[Batch, Array]) -> tuple[tuple[Array, Any], None]:
        (_, mean), grads = gradient(model, *micro)
        # Else a TPU's compiler adds the tables' gradients up whole, to cut them once after the
        # loop: that took 8 GiB more of each chip for llama3-70b, and of the compiler.
        grads = jax.lax.optimization_barrier(grads)
        return jax.tree.map(jnp.add, total, (mean, grads)), None

    zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, model))
    micros = micro_batches(batch, config.accumulation), jnp.arange(config.accumulation)
    (mean, grads), _ = jax.lax.scan(add, zeros, micros)
    return mean, grads, weight


def micro_batches(batch: Kind, count: int) -> Kind:
    """The batch with a first dimension of `count`, without moving a row to another device: row r
    belongs to micro-batch r % count."""

    def split(rows: Array, axes: Axes) -> Array:
        n = axes.index("batch")
        shape = (*rows.shape[:n], rows.shape[n] // count, count, *rows.shape[n + 1 :])
        layout = spec(*axes[: n + 1], None, *axes[n + 1 :])
        return jnp.moveaxis(rows.reshape(shape, out_sharding=layout), n + 1, 0)

    return map_fields(split, batch)


def step_key(seed: int, step: Int[Array, ""] | int) -> PRNGKeyArray:
    """The key of what is random in a step, none of those that drew the initial weights."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), NOISE), step)


def make_train_step(config: TrainConfig) -> jax.stages.Wrapped:
    """The jitted `train_step(state, batch, learning_rate, ceiling)`, which gives up the old
    state's memory.

    The learning rate is the host's, because the schedule runs on the exact count of examples.
    `ceiling` is the largest loss and the largest gradient norm whose update is made (infinity: no
    limit). A step above it, or one that is not finite, leaves parameters and optimizer as they
    were. What is random in step n, counted by the state from 0, comes of
    `step_key(seed, n)`: it is the same after a resume and on every mesh.
    """
    transform = gradient_transform(config.optimizer)

    def train_step(
        state: TrainState,
        batch: Batch,
        learning_rate: Float[Array, ""],
        ceiling: Float[Array, "2"],
    ) -> tuple[TrainState, Metrics]:
        key = step_key(config.seed, state.step)
        loss, grads, _ = gradients(state.model, batch, config, key)
        norm = optax.tree.norm(grads)
        measured = jnp.stack([loss, norm])
        good = jnp.all(jnp.isfinite(measured) & (measured <= ceiling))

        def update(grads: Any) -> tuple[Any, optax.OptState, Any | None]:
            limit = config.optimizer.clip_norm
            if limit is not None:
                scale = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-12))
                grads = jax.tree.map(lambda g: g * scale, grads)
            updates, optimizer = transform.update(grads, state.optimizer, state.model)
            model = jax.tree.map(lambda p, u: p - learning_rate * u, state.model, updates)
            average = state.average
            keep = config.optimizer.ema_decay
            if keep is not None:
                average = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, average, model)
            return model, optimizer, average

        def skip(grads: Any) -> tuple[Any, optax.OptState, Any | None]:
            return state.model, state.optimizer, state.average

        model, optimizer, average = jax.lax.cond(good, update, skip, grads)
        state = TrainState(step=state.step + 1, model=model, optimizer=optimizer, average=average)
        return state, Metrics(loss, norm, good.astype(jnp.float32))

    return jax.jit(train_step, donate_argnums=0)


def make_eval_step(config: TrainConfig) -> jax.stages.Wrapped:
    """The jitted `eval_step(model, batch)`, which gives the `train.objective.Sums`; nothing in it
    is random."""

    def eval_step(model: Any, batch: Batch) -> Sums:
        return objective_of(type(batch))(model, batch, config, None)

    return jax.jit(eval_step)
