"""Learning-rate schedules over examples, and which of them cannot be."""

import math

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
