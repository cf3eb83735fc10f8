"""What is asked of the model: the type of a batch chooses the loss, which is given as sums.

A kind of batch that is defined elsewhere carries its objective as the static method `objective`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from data.batch import Batch, TokenRows
from data.errors import UserError
from train.config import TrainConfig
from train.loss import cross_entropy


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


class Objective(Protocol):
    """Asks the model a batch: `key` is that of the step and micro-batch, None in evaluation, and
    the sums are linear in `batch.weights`, which training divides by their total beforehand."""

    def __call__(
        self, model: Any, batch: Any, config: TrainConfig, key: PRNGKeyArray | None
    ) -> Sums: ...


def total_weight(batch: Batch) -> Float[Array, ""]:
    """What sums over a batch are divided by to make means."""
    return jnp.sum(batch.weights)


def next_tokens(
    model: Any, batch: TokenRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """Cross entropy of every target, with z-loss minimized as well."""
    x = model(batch.tokens, batch.positions, batch.segment_ids, key=key)
    table = model.output_table[...]
    # `custom_vjp` hides its type.
    sums: Any = cross_entropy(
        x, table, batch.targets, batch.weights, config.z_loss, config.loss_chunk
    )
    nll, minimized = sums
    return Sums(minimized, nll, total_weight(batch))


OBJECTIVES: Mapping[type, Objective] = {TokenRows: next_tokens}


def objective_of(kind: type) -> Objective:
    """The objective of a kind of batch; ValueError if it has none."""
    objective = OBJECTIVES.get(kind) or getattr(kind, "objective", None)
    if objective is None:
        raise UserError(
            f"batch={kind.__name__} must have an objective, because the type of a batch says what "
            f"is learnt; try a static method `objective(model, batch, config, key)` of "
            f"{kind.__name__} that returns train.objective.Sums"
        )
    return objective
