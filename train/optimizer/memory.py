"""How much an optimizer keeps of a model, from the shapes of its state alone."""

import functools
from typing import Any

import jax

from model.families.family import FamilyConfig
from model.sharding import uncut
from model.weights import shapes_of
from train.config import OptimizerConfig
from train.optimizer.transform import gradient_transform

PARAMETER = 4
"""Bytes of a parameter, in float32."""


@functools.cache
def moments(config: OptimizerConfig, model: FamilyConfig) -> float:
    """Bytes that the optimizer keeps over those of the parameters: 2 for two moments of each.

    Single numbers, such as a count of steps, are left out. No device is used, and it is counted
    once for each pair of configs.
    """
    with uncut():
        state = jax.eval_shape(gradient_transform(config).init, shapes_of(model))
    return _bytes(state) / _bytes(shapes_of(model))


def kept(config: OptimizerConfig, model: FamilyConfig) -> float:
    """Bytes that training keeps next to the parameters, over theirs: the optimizer's and the moving
    average's."""
    return moments(config, model) + (config.ema_decay is not None)


def state_bytes(config: OptimizerConfig, model: FamilyConfig) -> float:
    """Bytes that training keeps of each parameter from step to step, itself among them."""
    return PARAMETER * (1 + kept(config, model))


def _bytes(shapes: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes) if leaf.ndim)
