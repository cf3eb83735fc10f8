"""What an objective returns, sums over a batch, and what objectives share."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from data.batch import Batch
from data.errors import UserError
from model.families.family import Scoring
from train.config import TrainConfig
from train.loss import PLAIN, cross_entropy


class Sums(NamedTuple):
    """Sums over the targets of a batch, each times its weight: of several batches they add up, and
    their ratios are the same for any mesh and any number of micro-batches."""

    minimized: Float[Array, ""]
    """What training makes small."""
    loss: Float[Array, ""]
    """What is reported as the loss; without what else is minimized, such as z-loss."""
    weight: Float[Array, ""]
    """`total_weight` of the batch, by which the others are divided."""
    others: Mapping[str, Float[Array, ""]] = {}
    """More for `train.measures`, by name."""
    outputs: Any = None
    """In evaluation, what the model says of each row, for `Rows.score`: arrays cut as the batch."""


class Objective(Protocol):
    """Asks the model a batch: `key` is that of the step and micro-batch, None in evaluation, and
    the sums are linear in `batch.weights`, which training divides by their total beforehand."""

    def __call__(
        self, model: Any, batch: Any, config: TrainConfig, key: PRNGKeyArray | None
    ) -> Sums: ...


def total_weight(batch: Batch) -> Float[Array, ""]:
    """What sums over a batch are divided by to make means."""
    return jnp.sum(batch.weights)


def scored(
    x: Float[Array, "*rows D"],
    table: Float[Array, "V D"],
    targets: Int[Array, "*rows"],
    weights: Float[Array, "*rows"],
    config: TrainConfig,
    bias: Float[Array, "V"] | None = None,
    scoring: Scoring = PLAIN,
) -> Sums:
    """Cross entropy of the targets among the rows of a table, with z-loss and smoothed targets
    minimized."""
    z_loss, smoothing = config.z_loss, config.label_smoothing
    arguments = (x, table, targets, weights, z_loss, config.loss_chunk, bias, scoring, smoothing)
    # `custom_vjp` hides its type.
    sums: Any = cross_entropy(*arguments)
    return Sums(sums[1], sums[0], jnp.sum(weights))


def require_plain_targets(config: TrainConfig, what: str) -> None:
    """Raise ValueError if targets are to be smoothed that are not one of several classes."""
    if config.label_smoothing:
        raise UserError(
            f"train.label_smoothing={config.label_smoothing} must be 0 for {what}, because it "
            "spreads a target over tokens or labels of which one is right; try "
            "--train.label-smoothing 0"
        )


def keys_of(key: PRNGKeyArray | None) -> tuple[PRNGKeyArray | None, PRNGKeyArray | None]:
    """A key for the model and one for its head."""
    return (None, None) if key is None else tuple(jax.random.split(key))
