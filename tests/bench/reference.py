"""The model of the CPU bars, made ready by the same functions that make a run ready."""

from dataclasses import dataclass

import jax
from jaxtyping import Array

from data.batch import Batch
from launch.run import build
from model.families.decoder_config import DecoderConfig
from model.families.transformer_config import TransformerConfig
from tests.bench.baseline import BaselineSizes
from tests.bench.batch import random_batch
from train.config import TrainConfig
from train.feed import local_rows, replicated, to_global
from train.guard.spikes import NO_CEILING
from train.loop import TrainStep
from train.state import TrainState


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A compiled step with all it needs, on the current mesh."""

    model: TransformerConfig
    train: TrainConfig
    step: TrainStep
    compile_seconds: float
    batch: Batch
    learning_rate: Array
    ceiling: Array

    def fresh_state(self) -> TrainState:
        """The initial state, newly made."""
        return jax.jit(build.fresh_state(self.model, self.train))()


def model_config(sizes: BaselineSizes) -> DecoderConfig:
    """The baseline's architecture in our words."""
    return DecoderConfig(
        vocab_size=sizes.vocab_size,
        num_layers=sizes.num_layers,
        embed_dim=sizes.embed_dim,
        num_heads=sizes.num_heads,
        num_kv_heads=sizes.num_heads,
        head_dim=sizes.embed_dim // sizes.num_heads,
        mlp_dim=sizes.mlp_dim,
        max_length=sizes.length,
        tied_embedding=False,
    )


def make_reference(sizes: BaselineSizes, *, steps: int = 1000, packed: bool = False) -> Reference:
    """Compile our step for the baseline's sizes and put random tokens on the devices."""
    batch = random_batch(sizes.batch, sizes.length, sizes.vocab_size, packed=packed)
    return reference_of(model_config(sizes), batch, steps=steps)


def reference_of(model: TransformerConfig, batch: Batch, *, steps: int = 1000) -> Reference:
    """Compile the step of a model and put a batch on the devices."""
    backend, rows = jax.default_backend(), len(batch.weights)
    model = model.resolve(backend)
    train = TrainConfig(steps=steps, batch_size=rows, log_every=1)
    train = build.resolve_train(train, model, backend)
    shapes = jax.eval_shape(build.fresh_state(model, train))
    step, seconds = build.compile_train_step(shapes, train, batch)
    return Reference(
        model=model,
        train=train,
        step=step,
        compile_seconds=seconds,
        batch=to_global(batch, local_rows(rows), rows),
        learning_rate=replicated(3e-4),
        ceiling=replicated(NO_CEILING),
    )
