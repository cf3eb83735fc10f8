"""The jitted train and evaluation steps: pure functions of state and batch."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from data.batch import Batch
from model.families.decoder import Decoder
from model.sharding import spec
from train.config import TrainConfig
from train.loss import cross_entropy
from train.optimizer.transform import gradient_transform
from train.state import TrainState


class Metrics(NamedTuple):
    """Scalars of one step, on the device until the loop reads them a step later."""

    loss: Float[Array, ""]
    """Mean cross entropy of the weighted targets, in nats."""
    grad_norm: Float[Array, ""]
    """Global norm of the gradient before clipping."""
    updated: Float[Array, ""]
    """1 if the update was made; 0 if loss or gradient norm was not finite or above the ceiling."""


class Sums(NamedTuple):
    """What evaluation adds up over batches."""

    nll: Float[Array, ""]
    targets: Float[Array, ""]


def nll_and_loss(
    model: Decoder,
    batch: Batch,
    weights: Float[Array, "B T"],
    config: TrainConfig,
    packed: bool,
) -> tuple[Array, Array]:
    """Weighted sums of the cross entropy alone and of what is minimized."""
    places = (batch.positions, batch.segment_ids) if packed else ()
    x = model(batch.tokens, *places)
    table = model.output_table[...]
    return cross_entropy(x, table, batch.targets, weights, config.z_loss, config.loss_chunk)


def gradients(
    model: Decoder, batch: Batch, config: TrainConfig, packed: bool
) -> tuple[Float[Array, ""], Decoder, Float[Array, ""]]:
    """Mean loss, its gradient and the number of targets, micro-batch by micro-batch.

    Every micro-batch is divided by the targets of the whole batch, so that accumulation does not
    change the loss.
    """
    targets = jnp.sum(batch.weights)

    def loss(model: Decoder, batch: Batch) -> tuple[Array, Array]:
        weights = batch.weights / jnp.maximum(targets, 1.0)
        nll, loss = nll_and_loss(model, batch, weights, config, packed)
        return loss, nll

    gradient = jax.value_and_grad(loss, has_aux=True)
    if config.accumulation == 1:
        (_, nll), grads = gradient(model, batch)
        return nll, grads, targets

    def add(total: tuple[Array, Decoder], micro: Batch) -> tuple[tuple[Array, Decoder], None]:
        (_, nll), grads = gradient(model, micro)
        # Else a TPU's compiler adds the tables' gradients up whole, to cut them once after the
        # loop: that took 8 GiB more of each chip for llama3-70b, and of the compiler.
        grads = jax.lax.optimization_barrier(grads)
        return jax.tree.map(jnp.add, total, (nll, grads)), None

    zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, model))
    split = functools.partial(micro_batches, count=config.accumulation)
    (nll, grads), _ = jax.lax.scan(add, zeros, jax.tree.map(split, batch))
    return nll, grads, targets


def micro_batches(rows: Array, count: int) -> Array:
    """[B, T] as [count, B / count, T] without moving a row to another device."""
    B, T = rows.shape
    split = rows.reshape(B // count, count, T, out_sharding=spec("batch", None, "length"))
    return jnp.moveaxis(split, 1, 0)


def make_train_step(config: TrainConfig, *, packed: bool) -> jax.stages.Wrapped:
    """The jitted `train_step(state, batch, learning_rate, ceiling)`, which gives up the old
    state's memory.

    `packed` rows hold several documents kept apart by segment ids. The learning rate is the
    host's, because the schedule runs on the exact count of examples. `ceiling` is the largest loss
    and the largest gradient norm whose update is made (infinity: no limit). A step above it, or one
    that is not finite, leaves parameters and optimizer as they were.
    """
    transform = gradient_transform(config.optimizer)

    def train_step(
        state: TrainState,
        batch: Batch,
        learning_rate: Float[Array, ""],
        ceiling: Float[Array, "2"],
    ) -> tuple[TrainState, Metrics]:
        loss, grads, _ = gradients(state.model, batch, config, packed)
        norm = optax.tree.norm(grads)
        measured = jnp.stack([loss, norm])
        good = jnp.all(jnp.isfinite(measured) & (measured <= ceiling))

        def update(grads: Decoder) -> tuple[Decoder, optax.OptState, Decoder | None]:
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

        def skip(grads: Decoder) -> tuple[Decoder, optax.OptState, Decoder | None]:
            return state.model, state.optimizer, state.average

        model, optimizer, average = jax.lax.cond(good, update, skip, grads)
        state = TrainState(step=state.step + 1, model=model, optimizer=optimizer, average=average)
        return state, Metrics(loss, norm, good.astype(jnp.float32))

    return jax.jit(train_step, donate_argnums=0)


def make_eval_step(config: TrainConfig, *, packed: bool) -> jax.stages.Wrapped:
    """The jitted `eval_step(model, batch)`: summed cross entropy and target weights."""

    def eval_step(model: Decoder, batch: Batch) -> Sums:
        nll, _ = nll_and_loss(model, batch, batch.weights, config, packed)
        return Sums(nll, jnp.sum(batch.weights))

    return jax.jit(eval_step)
