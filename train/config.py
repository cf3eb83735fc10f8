"""How a run learns, evaluates, saves and reports. Imports no jax, so that `--help` stays fast.

A field whose metadata is `FREE` may change when a run is resumed; every other must match.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Interval

from data.fields import FREE, Count, Seed, Share, Size, Whole
from train.optimizer.shapes import Shape
from train.optimizer.table import Direction, Name, direction_of

Decay = Annotated[float, Interval(ge=0, le=0.999999)]
"""Share that stays at each step; closer to 1, float32 rounds it to 1 and nothing would change."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer and its learning-rate schedule."""

    name: Name = "adamw"
    """The optimizer; each is a file in train/optimizer, which names its paper."""
    learning_rate: Annotated[float, Interval(ge=1e-30, le=1e15)] = 3e-4
    """Peak learning rate, reached at the end of the warm-up."""
    schedule: Shape = "cosine"
    """Shape after the warm-up; `wsd` stays at the peak and falls linearly over the last
    decay_fraction."""
    warmup_steps: Whole = 100
    """Steps of linear warm-up, counted at the configured batch size."""
    final_fraction: Share = 0.1
    """Learning rate at the last step as a share of the peak (cosine, linear, wsd)."""
    decay_fraction: Share = 0.2
    """Share of the run over which `wsd` decays."""
    beta1: Decay = 0.9
    """Decay of the first moment."""
    beta2: Decay = 0.95
    """Decay of the second moment, or, where an optimizer has one moment alone, of that."""
    epsilon: Annotated[float, Interval(ge=1e-30, le=1)] = 1e-8
    """Added to the denominator, by optimizers that have one."""
    weight_decay: Annotated[float, Interval(ge=0, le=1e3)] = 0.1
    """Decoupled decay of the parameters declared to decay (matrices; not biases and norms)."""
    clip_norm: Annotated[float, Interval(ge=1e-30, le=1e30)] | None = 1.0
    """Global norm above which gradients are scaled down; None is off."""
    ema_decay: Decay | None = None
    """Keep an exponential moving average of the parameters with this decay, used by evaluation."""

    def direction(self) -> Direction:
        """The optimizer itself, as optax has it: gradients to updates, before decay and learning
        rate. A subclass, passed from Python, returns an optimizer that is not in the table."""
        return direction_of(self)


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When checkpoints are written and which are kept."""

    every_steps: Count | None = field(default=1000, metadata=FREE)
    """Save each time the step is a multiple of this; None saves by time, and at the end."""
    every_minutes: Annotated[float, Interval(ge=1e-3, le=1e6)] | None = field(
        default=None, metadata=FREE
    )
    """Save when this many minutes have passed since the last save; None saves by steps, and at the
    end."""
    at_steps: tuple[Count, ...] = field(default=(), metadata=FREE)
    """Save at these steps too, and keep them."""
    keep_latest: Count = field(default=2, metadata=FREE)
    """How many of the newest checkpoints are kept."""
    keep_every: Count | None = field(default=None, metadata=FREE)
    """Also keep every checkpoint whose step is a multiple of this."""
    keep_best: Whole = field(default=0, metadata=FREE)
    """Also keep this many checkpoints with the lowest evaluation loss."""
    verify: Literal["checksums", "sizes"] = field(default="checksums", metadata=FREE)
    """What of a checkpoint's files is compared with its manifest before it is read: all bytes, or,
    if that takes too long, the sizes only."""


@dataclass(frozen=True, kw_only=True)
class BadNumbersConfig:
    """What happens to a step whose loss or gradient is not finite, or a spike. Its update is never
    made: the run stops, or continues without that update (skip), or goes back to the checkpoint
    before it and continues without those rows (rollback; Chowdhery et al. 2022, PaLM)."""

    non_finite: Literal["stop", "skip", "rollback"] = "stop"
    """When the loss or the gradient is NaN or infinite."""
    spikes: Literal["off", "stop", "skip", "rollback"] = "off"
    """When the loss or the gradient norm is a spike. Off, since which steps count as spikes
    decides what is learnt, and a threshold right for one run drops good updates of another."""
    threshold: Annotated[float, Interval(ge=1e-6, le=1e9)] = 8.0
    """Robust z-score above which a loss or gradient norm is a spike."""
    window: Annotated[int, Interval(ge=8, le=1_000_000)] = 128
    """Steps before it, made updates only, that a step is compared with; none is a spike before."""
    most_in_a_row: Count = 20
    """The run ends when so many updates in a row were dropped."""
    most_dropped: Whole = 50
    """The run ends when more updates than this were dropped within `dropped_within` steps."""
    dropped_within: Count = 1000
    """The steps over which `most_dropped` counts."""
    rollback_batches: Whole = 8
    """Batches after the bad one that a rollback leaves out with it (PaLM: 200 to 500 in all)."""
    most_rollbacks: Whole = 10
    """The run ends when it would go back once more than this."""


@dataclass(frozen=True, kw_only=True)
class CorruptionConfig:
    """Looks for hardware that gets numbers wrong in silence; what it finds ends the run."""

    replicas: bool = False
    """Compare the copies of parameters and optimizer state that several devices hold, also before
    each checkpoint."""
    recompute: bool = False
    """Make a step twice and compare all bits of the new state; needs room for a second state."""
    every_steps: Count = 200
    """Steps from one check to the next."""


@dataclass(frozen=True, kw_only=True)
class WatchdogConfig:
    """When a process counts as hung: it reports what all its threads do, and ends."""

    step_seconds: Annotated[float, Interval(ge=1e-3, le=1e7)] = field(default=30.0, metadata=FREE)
    """A step may always take this many seconds."""
    step_medians: Annotated[float, Interval(ge=1e-3, le=1e6)] = field(default=10.0, metadata=FREE)
    """A step may also take this many times the median of the last steps."""
    phase_minutes: Annotated[float, Interval(ge=1e-3, le=1e5)] = field(default=30.0, metadata=FREE)
    """Compiling, restoring, an evaluation, a save, and the first steps may take so long."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length, batch, randomness and rhythm of a run."""

    steps: Count = field(metadata=FREE)
    """Optimizer steps of the whole run, counted at the batch size it began with; a resumed run may
    be given more."""
    batch_size: Size = field(metadata=FREE)
    """Rows (windows) in one optimizer step, over all devices."""
    accumulation: Size = field(default=1, metadata=FREE)
    """Micro-batches a step is split into; gradients are summed before the update."""
    seed: Seed = 0
    """Seed of the initial parameters, and of dropout and other noise in training; the order of the
    data has its own."""
    z_loss: Annotated[float, Interval(ge=0, le=1e3)] = 0.0
    """Weight of the squared log-normalizer (PaLM used 1e-4)."""
    label_smoothing: Annotated[float, Interval(ge=0, le=0.99)] = 0.0
    """Share of each target that is spread evenly over all labels or tokens (Szegedy et al. 2015);
    what is reported as the loss has none."""
    loss_chunk: Whole = field(default=0, metadata=FREE)
    """Tokens of one device whose logits exist at a time; 0 lets the program choose."""
    log_every: Count = field(default=10, metadata=FREE)
    """Steps between metric records."""
    eval_every: Whole = field(default=0, metadata=FREE)
    """Steps between evaluations; 0 evaluates at the end only."""
    eval_batches: Whole = field(default=16, metadata=FREE)
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
