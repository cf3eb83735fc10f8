"""AdamW (Loshchilov & Hutter 2019): the mean of gradients over the root of the mean of their
squares, corrected for their start at zero. The decay is the common one."""

import optax

from train.config import OptimizerConfig


def direction(config: OptimizerConfig) -> optax.GradientTransformation:
    """Keeps two moments of each parameter."""
    return optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)
