"""Presets of encoder-decoders."""

from data.examples_config import TargetsConfig
from launch.config import RunConfig
from model.families.encoder_decoder_config import EncoderDecoderConfig
from train.config import CheckpointConfig, OptimizerConfig, TrainConfig


def tiny_t5(name: str) -> RunConfig:
    """An encoder-decoder of 1.3 M parameters over bytes, built as T5 1.1, which learns to write one
    text of another.

    Command: `meshloom train tiny-t5 --data.sources jsonl:train.jsonl`, of objects with `source` and
    `target`. Hardware: any CPU. Expect minutes on 2 cores.
    Source: sizes of our own.
    """
    return RunConfig(
        preset=name,
        model=EncoderDecoderConfig(
            vocab_size=257,
            vocab_multiple=8,
            num_layers=3,
            embed_dim=128,
            num_heads=4,
            head_dim=32,
            mlp_dim=256,
            max_length=256,
            norm="rmsnorm",
            norm_epsilon=1e-6,
            activation="gelu_tanh",
            gated=True,
            bias=False,
            init_std=0.05,
            scale_scores=False,
            tied_embedding=False,
            dropout=0.0,
        ),
        data=TargetsConfig(sources=("jsonl:train.jsonl",)),
        train=TrainConfig(
            steps=1000,
            batch_size=32,
            eval_every=200,
            eval_batches=1000,
            optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=100, beta2=0.98),
            checkpoint=CheckpointConfig(every_steps=200, keep_best=1),
        ),
    )


T5_SIZES = {
    "t5-small": (512, 2048, 6, 8),
    "t5-base": (768, 3072, 12, 12),
    "t5-large": (1024, 4096, 24, 16),
    "t5-v1.1-small": (512, 1024, 8, 6),
    "t5-v1.1-base": (768, 2048, 12, 12),
    "t5-v1.1-large": (1024, 2816, 24, 16),
    "t5-v1.1-xl": (2048, 5120, 24, 32),
    "t5-v1.1-xxl": (4096, 10240, 24, 64),
}
"""D, F, L of each stack, N."""


def t5(name: str) -> RunConfig:
    """T5: relative positions, RMSNorm, no biases; 1.0 with ReLU and one table, 1.1 with GeGLU and
    two.

    Command: `meshloom train t5-small --data.sources 'jsonl:pairs/*.jsonl' --start-from hf:FOLDER`.
    Hardware: small and base one accelerator of 80 GB, xxl from 16. Steps, rows and rate are those
    of the paper's fine-tuning, with AdamW in place of Adafactor; no table gives a loss.
    Source: Raffel et al. 2020, section 3.1; parameters as in the released weights.
    """
    D, F, L, N = T5_SIZES[name]
    newer = "v1.1" in name
    model = EncoderDecoderConfig(
        vocab_size=32_128,
        num_layers=L,
        embed_dim=D,
        num_heads=N,
        head_dim=64,
        mlp_dim=F,
        max_length=512,
        norm="rmsnorm",
        norm_epsilon=1e-6,
        activation="gelu_tanh" if newer else "relu",
        gated=newer,
        bias=False,
        scale_scores=False,
        tied_embedding=not newer,
        scale_logits=not newer,
    )
    return RunConfig(
        preset=name,
        model=model,
        data=TargetsConfig(
            sources=("jsonl:pairs/*.jsonl",),
            tokenizer="corpus/tokenizer.json",
            begin_token="<pad>",
            sequence_length=512,
        ),
        train=TrainConfig(
            steps=262_144,
            batch_size=128,
            eval_every=5000,
            optimizer=OptimizerConfig(learning_rate=1e-4, schedule="linear", warmup_steps=1000),
        ),
    )


ENCODER_DECODERS = {"tiny-t5": tiny_t5, **dict.fromkeys(T5_SIZES, t5)}
