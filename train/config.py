"""How a run learns, evaluates, saves and reports. Imports no jax, so that `--help` stays fast.

A field whose metadata says `"resume": "free"` may change when a run is resumed; every other must
match.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

FREE = {"resume": "free"}


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer and its learning-rate schedule."""

    name: Literal["adamw", "lion"] = "adamw"
    """AdamW (Loshchilov & Hutter 2019) or Lion (Chen et al. 2023)."""
    learning_rate: float = 3e-4
    """Peak learning rate, reached at the end of the warm-up."""
    schedule: Literal["constant", "cosine", "linear", "wsd", "inverse_sqrt"] = "cosine"
    """Shape after the warm-up; `wsd` stays at the peak and falls linearly over the last
    decay_fraction."""
    warmup_steps: int = 100
    """Steps of linear warm-up, counted at the configured batch size."""
    final_fraction: float = 0.1
    """Learning rate at the last step as a share of the peak (cosine, linear, wsd)."""
    decay_fraction: float = 0.2
    """Share of the run over which `wsd` decays."""
    beta1: float = 0.9
    """Decay of the first moment."""
    beta2: float = 0.95
    """Decay of the second moment (of the momentum for Lion)."""
    epsilon: float = 1e-8
    """Added to AdamW's denominator."""
    weight_decay: float = 0.1
    """Decoupled decay of the parameters declared to decay (matrices; not biases and norms)."""
    clip_norm: float | None = 1.0
    """Global norm above which gradients are scaled down; None is off."""
    ema_decay: float | None = None
    """Keep an exponential moving average of the parameters with this decay, used by evaluation."""

    def __post_init__(self) -> None:
        positive = ("learning_rate", "epsilon")
        shares = ("final_fraction", "decay_fraction")
        for name in positive:
            if not 0 < getattr(self, name) < math.inf:
                raise _refused(
                    "train.optimizer", self, name, "be above 0 and finite", "a size", "1e-4"
                )
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise _refused(
                    "train.optimizer", self, name, "be at least 0 and below 1", "a decay", "0.9"
                )
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise _refused(
                    "train.optimizer", self, name, "lie between 0 and 1", "a share", "0.9"
                )
        if not 0 <= self.weight_decay < math.inf:
            raise _refused(
                "train.optimizer", self, "weight_decay", "be at least 0 and finite", "a rate", "0.1"
            )
        if self.warmup_steps < 0:
            raise _refused("train.optimizer", self, "warmup_steps", "be at least 0", "a count", "0")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise _refused("train.optimizer", self, "clip_norm", "be above 0", "a size", "None")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise _refused(
                "train.optimizer", self, "ema_decay", "lie between 0 and 1", "a share", "0.999"
            )


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When checkpoints are written and which are kept."""

    every_steps: int | None = field(default=1000, metadata=FREE)
    """Save each time the step is a multiple of this; None saves by time, and at the end."""
    every_minutes: float | None = field(default=None, metadata=FREE)
    """Save when this many minutes have passed since the last save; None saves by steps, and at the
    end."""
    keep_latest: int = field(default=2, metadata=FREE)
    """How many of the newest checkpoints are kept."""
    keep_every: int | None = field(default=None, metadata=FREE)
    """Also keep every checkpoint whose step is a multiple of this."""
    keep_best: int = field(default=0, metadata=FREE)
    """Also keep this many checkpoints with the lowest evaluation loss."""
    verify: Literal["checksums", "sizes"] = field(default="checksums", metadata=FREE)
    """What of a checkpoint's files is compared with its manifest before it is read: all bytes, or,
    if that takes too long, the sizes only."""

    def __post_init__(self) -> None:
        for name in ("every_steps", "keep_latest", "keep_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise _refused("train.checkpoint", self, name, "be at least 1", "a count", "1")
        if self.every_minutes is not None and not self.every_minutes > 0:
            raise _refused("train.checkpoint", self, "every_minutes", "be above 0", "a time", "10")
        if self.keep_best < 0:
            raise _refused("train.checkpoint", self, "keep_best", "be at least 0", "a count", "0")


@dataclass(frozen=True, kw_only=True)
class BadNumbersConfig:
    """What happens to a step whose loss or gradient is not finite, or a spike. Its update is never
    made: the run stops, or goes on without that update (skip), or goes back to the checkpoint
    before it and goes on without those rows (rollback; Chowdhery et al. 2022, PaLM)."""

    non_finite: Literal["stop", "skip", "rollback"] = "stop"
    """When the loss or the gradient is NaN or infinite."""
    spikes: Literal["off", "stop", "skip", "rollback"] = "off"
    """When the loss or the gradient norm is a spike. Off, since which steps count as spikes
    decides what is learnt, and a threshold right for one run drops good updates of another."""
    threshold: float = 8.0
    """Robust z-score above which a loss or gradient norm is a spike."""
    window: int = 128
    """Steps before it, made updates only, that a step is compared with; none is a spike before."""
    most_in_a_row: int = 20
    """The run ends when so many updates in a row were dropped."""
    most_dropped: int = 50
    """The run ends when more updates than this were dropped within `dropped_within` steps."""
    dropped_within: int = 1000
    """The steps over which `most_dropped` counts."""
    rollback_batches: int = 8
    """Batches after the bad one that a rollback leaves out with it (PaLM: 200 to 500 in all)."""
    most_rollbacks: int = 10
    """The run ends when it would go back once more than this."""

    def __post_init__(self) -> None:
        if not 0 < self.threshold < math.inf:
            raise _refused(
                "train.bad_numbers", self, "threshold", "be above 0 and finite", "a score", "8"
            )
        at_least = {"window": 8, "most_in_a_row": 1, "most_dropped": 0, "dropped_within": 1}
        for name, least in (at_least | {"rollback_batches": 0, "most_rollbacks": 0}).items():
            if getattr(self, name) < least:
                raise _refused(
                    "train.bad_numbers", self, name, f"be at least {least}", "a count", str(least)
                )


@dataclass(frozen=True, kw_only=True)
class CorruptionConfig:
    """Looks for hardware that gets numbers wrong in silence; what it finds ends the run."""

    replicas: bool = False
    """Compare the copies of parameters and optimizer state that several devices hold, also before
    each checkpoint."""
    recompute: bool = False
    """Make a step twice and compare all bits of the new state; needs room for a second state."""
    every_steps: int = 200
    """Steps from one check to the next."""

    def __post_init__(self) -> None:
        if self.every_steps < 1:
            raise _refused("train.corruption", self, "every_steps", "be at least 1", "a count", "1")


@dataclass(frozen=True, kw_only=True)
class WatchdogConfig:
    """When a process counts as hung: it tells what all its threads do, and ends."""

    step_seconds: float = field(default=30.0, metadata=FREE)
    """A step may always take this many seconds."""
    step_medians: float = field(default=10.0, metadata=FREE)
    """A step may also take this many times the median of the last steps."""
    phase_minutes: float = field(default=30.0, metadata=FREE)
    """Compiling, restoring, an evaluation, a save, and the first steps may take so long."""

    def __post_init__(self) -> None:
        for name in ("step_seconds", "step_medians", "phase_minutes"):
            if not getattr(self, name) > 0:
                raise _refused("train.watchdog", self, name, "be above 0", "a time", "60")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length, batch, randomness and rhythm of a run."""

    steps: int = field(metadata=FREE)
    """Optimizer steps of the whole run; a resumed run may be given more."""
    batch_size: int = field(metadata=FREE)
    """Rows (windows) in one optimizer step, over all devices."""
    accumulation: int = field(default=1, metadata=FREE)
    """Micro-batches a step is split into; gradients are summed before the update."""
    seed: int = 0
    """Seed of the initial parameters; the order of the data has its own."""
    z_loss: float = 0.0
    """Weight of the squared log-normalizer (PaLM used 1e-4)."""
    loss_chunk: int = field(default=0, metadata=FREE)
    """Tokens of one device whose logits exist at a time; 0 lets the program choose."""
    log_every: int = field(default=10, metadata=FREE)
    """Steps between metric records."""
    eval_every: int = field(default=0, metadata=FREE)
    """Steps between evaluations; 0 evaluates at the end only."""
    eval_batches: int = field(default=16, metadata=FREE)
    """Batches of held-out rows in one evaluation, at most; 0 skips evaluation."""
    bad_numbers: BadNumbersConfig = field(default_factory=BadNumbersConfig, metadata=FREE)
    """Steps that are not finite, and spikes."""
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig, metadata=FREE)
    """Checks for hardware faults."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The optimizer."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """Checkpoints."""
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
    """Hangs."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "log_every"):
            if getattr(self, name) < 1:
                raise _refused("train", self, name, "be at least 1", "a count", "1")
        for name in ("loss_chunk", "eval_every", "eval_batches", "z_loss"):
            if getattr(self, name) < 0:
                raise _refused("train", self, name, "be at least 0", "a count or weight", "0")


def _refused(
    prefix: str, config: object, name: str, must: str, because: str, example: str
) -> ValueError:
    flag = f"--{prefix}.{name}".replace("_", "-")
    return ValueError(
        f"{prefix}.{name}={getattr(config, name)} must {must}, because it is {because}; "
        f"try {flag} {example}"
    )
