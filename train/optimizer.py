"""Learning-rate schedules over examples, and the optax chain that turns gradients into updates."""

import math
from typing import Any, Protocol, cast

import jax
import optax
from flax import nnx

from model.families.decoder import Decoder
from train.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: float, steps: int) -> float:
    """Learning rate of the update after `step` of `steps` steps.

    `step` is examples seen / configured batch size, so it may be a fraction after the batch size
    changed. Warm-up is linear over warmup_steps; then `constant`, `cosine` (Loshchilov & Hutter
    2017), `linear`, `wsd` (warm-up, stable, decay: Hu et al. 2024) or `inverse_sqrt` (Vaswani et
    al. 2017).
    """
    warmup = config.warmup_steps
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    peak, last = max(warmup - 1, 0), steps - 1
    done = min(1.0, (step - peak) / max(1, last - peak))
    low = config.final_fraction
    if config.schedule == "cosine":
        share = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done))
    elif config.schedule == "linear":
        share = 1 - (1 - low) * done
    elif config.schedule == "wsd":
        length = _decay(config, steps)
        share = 1 - (1 - low) * min(1.0, max(0.0, step - last + length) / length)
    elif config.schedule == "inverse_sqrt":
        share = math.sqrt(max(1, warmup) / max(1.0, step + 1))
    else:
        share = 1.0
    return config.learning_rate * share


def odd_schedule(config: OptimizerConfig, steps: int) -> str | None:
    """What the schedule cannot do in so many steps, and what to try; None if it can."""
    warmup = config.warmup_steps
    if warmup >= steps:
        return (
            f"the learning rate only rises: warm-up takes {warmup} steps of {steps}; "
            f"try --train.optimizer.warmup-steps {steps // 10}"
        )
    if config.schedule == "wsd" and round(steps - _decay(config, steps), 6) < warmup:
        return (
            f"the learning rate drops where warm-up ends: wsd decays over the last "
            f"{_decay(config, steps):g} of {steps} steps, and warm-up takes {warmup}; "
            f"try --train.optimizer.decay-fraction {100 * (steps - warmup) // steps / 100}"
        )
    return None


def _decay(config: OptimizerConfig, steps: int) -> float:
    """Steps over which `wsd` decays."""
    return max(1.0, steps * config.decay_fraction)


class Transform(Protocol):
    """An `optax.GradientTransformation` over trees of our modules, which its types do not know."""

    def init(self, params: Any) -> Any: ...

    def update(self, updates: Any, state: Any, params: Any) -> tuple[Any, Any]: ...


def gradient_transform(config: OptimizerConfig) -> Transform:
    """Moments and decoupled weight decay; the caller multiplies the result by -learning rate.

    Moments are those of gradients at their base size, and their update has the parameter's own
    rate; the decay follows the common rate alone (`model.parametrization`).
    """
    if config.name == "adamw":
        direction = optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)
    else:
        direction = optax.scale_by_lion(config.beta1, config.beta2)
    decay = optax.add_decayed_weights(config.weight_decay, decays)
    return cast(Transform, optax.chain(parametrized(direction), decay))


def parametrized(direction: optax.GradientTransformation) -> optax.GradientTransformation:
    """`direction` between each parameter's factors on its gradient and on its update."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        moved, state = direction.update(times(updates, "gradient_factor"), state, params)
        return times(moved, "rate_factor"), state

    return optax.GradientTransformation(direction.init, update)


def times(tree: Any, factor: str) -> Any:
    """A tree like the model's with every value multiplied by that factor of its declaration."""

    def scale(weight: nnx.Param[jax.Array]) -> nnx.Variable[jax.Array]:
        size = weight.get_metadata()[factor]
        return weight if size == 1 else weight.replace(weight[...] * size)

    return jax.tree.map(scale, tree, is_leaf=lambda node: isinstance(node, nnx.Param))


def decays(model: Decoder) -> Decoder:
    """The model's tree with True where a parameter is declared to decay."""
    return jax.tree.map(
        lambda p: p.replace(p.get_metadata()["decay"]),
        model,
        is_leaf=lambda node: isinstance(node, nnx.Param),
    )
