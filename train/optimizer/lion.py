"""Lion (Chen et al. 2023): the sign of gradient and momentum mixed."""

import optax

from train.config import OptimizerConfig


def direction(config: OptimizerConfig) -> optax.GradientTransformation:
    """Keeps the momentum of each parameter."""
    return optax.scale_by_lion(config.beta1, config.beta2)
