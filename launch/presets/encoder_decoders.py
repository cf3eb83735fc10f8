"""Presets of encoder-decoders."""

from dataclasses import replace
from typing import Any

from data.config import DataKind
from data.examples_config import TargetsConfig
from data.spans_config import SpansConfig
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
    return _tiny(name, 257, TargetsConfig(sources=("jsonl:train.jsonl",)))


def tiny_t5_spans(name: str) -> RunConfig:
    """The same network over bytes and 100 sentinels, which learns to write the spans that are cut
    out of the sources of Python's standard library.

    Command: `meshloom train tiny-t5-spans`. Hardware: any CPU. Expect minutes on 2 cores.
    Source: sizes of our own.
    """
    return _tiny(name, 357, SpansConfig())


def _tiny(name: str, vocabulary: int, data: DataKind) -> RunConfig:
    return RunConfig(
        preset=name,
        model=EncoderDecoderConfig(
            vocab_size=vocabulary,
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
        data=data,
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


def t5_spans(name: str) -> RunConfig:
    """T5 1.1 in pre-training: spans are cut out of rows of 512 tokens, without dropout.

    Command: `meshloom train t5-spans-base --data.sources 'jsonl:web/*.jsonl.zst'`. Hardware:
    small and base eight accelerators of 80 GB, xxl hundreds. Steps and rows are those of the
    released weights, a million of 2,048; the warm-up is the paper's, the rate ours for AdamW in
    place of Adafactor; no table gives a loss.
    Source: Raffel et al. 2020, sections 3.1 and 3.7; Shazeer 2020 for the network.
    """
    run = t5(name.replace("spans", "v1.1"))
    model: Any = run.model
    return replace(
        run,
        preset=name,
        model=replace(model, dropout=0.0),
        data=SpansConfig(
            sources=("text:corpus/*.txt",),
            tokenizer="corpus/tokenizer.json",
            begin_token="<pad>",
            sequence_length=512,
        ),
        train=TrainConfig(
            steps=1_000_000,
            batch_size=2048,
            eval_every=5000,
            optimizer=OptimizerConfig(
                learning_rate=1e-3,
                schedule="inverse_sqrt",
                warmup_steps=10_000,
                weight_decay=0.0,
            ),
        ),
    )


TRANSFORMER_SIZES = {
    "transformer-base": (512, 2048, 8, 0.1, 100_000),
    "transformer-big": (1024, 4096, 16, 0.3, 300_000),
}
"""D, F, N, dropout, steps."""


def transformer(name: str) -> RunConfig:
    """The Transformer of Vaswani et al. for translation: norms after sums, sines, ReLU, one table
    for both sides and the output, label smoothing.

    Command: `meshloom train transformer-base --data.sources 'jsonl:pairs/*.jsonl'`. Hardware: one
    accelerator of 80 GB; the paper had eight P100 for 12 hours (base) and 3.5 days (big). Its BLEU
    on newstest2014 of WMT is 27.3 and 28.4 (English to German); a perplexity, 4.92 and 4.33, it
    gives for pieces of words on newstest2013. Steps are about 25,000 tokens on each side, rates
    those of its formula. Ours has biases in attention too: 63 and 214 million parameters where its
    table rounds to 65 and 213.
    Source: Vaswani et al. 2017, sections 3 and 5, Table 3.
    """
    D, F, N, dropout, steps = TRANSFORMER_SIZES[name]
    warmup = 4000
    return RunConfig(
        preset=name,
        model=EncoderDecoderConfig(
            vocab_size=37_000,
            num_layers=6,
            embed_dim=D,
            num_heads=N,
            head_dim=64,
            mlp_dim=F,
            max_length=256,
            positions="sinusoidal",
            norm_place="after",
            activation="relu",
            scale_embedding=True,
            init_std=D**-0.5,
            dropout=dropout,
        ),
        data=TargetsConfig(
            sources=("jsonl:pairs/*.jsonl",),
            tokenizer="corpus/tokenizer.json",
            sequence_length=256,
        ),
        train=TrainConfig(
            steps=steps,
            batch_size=96,
            label_smoothing=0.1,
            eval_every=1000,
            optimizer=OptimizerConfig(
                learning_rate=(D * warmup) ** -0.5,
                schedule="inverse_sqrt",
                warmup_steps=warmup,
                beta2=0.98,
                epsilon=1e-9,
                weight_decay=0.0,
                clip_norm=None,
            ),
        ),
    )


ENCODER_DECODERS = {
    "tiny-t5": tiny_t5,
    "tiny-t5-spans": tiny_t5_spans,
    **dict.fromkeys(T5_SIZES, t5),
    **dict.fromkeys(
        (name.replace("v1.1", "spans") for name in T5_SIZES if "v1.1" in name), t5_spans
    ),
    **dict.fromkeys(TRANSFORMER_SIZES, transformer),
}
