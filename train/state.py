"""What training changes: step, parameters, optimizer state and their moving average."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32, PRNGKeyArray

from model.families.family import FamilyConfig
from train.config import OptimizerConfig
from train.optimizer.transform import gradient_transform


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainState:
    """A pytree; `jax.eval_shape(init_state)` is its shape and sharding table and restore target."""

    step: Int32[Array, ""]
    """Updates made so far."""
    model: Any
    """The network that its family builds: an `nnx.Module` of float32 parameters."""
    optimizer: Any
    """Optax state; moments are laid out as the parameters."""
    average: Any
    """Exponential moving average of the parameters, or None."""

    @property
    def evaluated(self) -> Any:
        """The parameters evaluation uses: the average if there is one."""
        return self.model if self.average is None else self.average


def init_state(config: FamilyConfig, optimizer: OptimizerConfig, key: PRNGKeyArray) -> TrainState:
    """A fresh state, sharded over the current mesh; run it under `jax.jit` or `jax.eval_shape`."""
    model = config.build(key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        model=model,
        optimizer=gradient_transform(optimizer).init(model),
        average=None if optimizer.ema_decay is None else jax.tree.map(jnp.copy, model),
    )
