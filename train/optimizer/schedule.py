"""Learning-rate schedules over examples, and which of them cannot be."""

from train.config import OptimizerConfig
from train.optimizer.shapes import SHAPES, Moment


def learning_rate(config: OptimizerConfig, step: float, steps: int) -> float:
    """Learning rate of the update after `step` of `steps` steps.

    `step` is examples seen / configured batch size, so it may be a fraction after the batch size
    changed. Warm-up is linear over warmup_steps; then comes the shape that `config.schedule` names.
    """
    warmup = config.warmup_steps
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    at = Moment(step, steps - 1, warmup, config.final_fraction, _decay(config, steps))
    return config.learning_rate * SHAPES[config.schedule](at)


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
