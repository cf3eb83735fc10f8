"""How a run learns, evaluates, saves and reports. Imports no jax, so that `--help` stays fast.

A field whose metadata says `"resume": "free"` may change when a run is resumed; every other must match.
"""

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
    """Shape after the warm-up; `wsd` stays at the peak and falls linearly over the last decay_fraction."""
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


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When checkpoints are written and which are kept."""

    every_steps: int | None = field(default=1000, metadata=FREE)
    """Save each time the step is a multiple of this; None saves by time, and at the end."""
    every_minutes: float | None = field(default=None, metadata=FREE)
    """Save when this many minutes have passed since the last save; None saves by steps, and at the end."""
    keep_latest: int = field(default=2, metadata=FREE)
    """How many of the newest checkpoints are kept."""
    keep_every: int | None = field(default=None, metadata=FREE)
    """Also keep every checkpoint whose step is a multiple of this."""
    keep_best: int = field(default=0, metadata=FREE)
    """Also keep this many checkpoints with the lowest evaluation loss."""


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
    non_finite: Literal["stop", "skip"] = field(default="stop", metadata=FREE)
    """When the loss or gradient is NaN or infinite: stop the run, or drop that update and go on."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The optimizer."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """Checkpoints."""
