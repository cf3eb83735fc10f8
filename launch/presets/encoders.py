"""Presets of encoders."""

from dataclasses import replace
from typing import Any

from data.config import DataKind, MaskedConfig
from data.examples_config import AnswersConfig, LabelledConfig, PairsConfig, TaggedConfig
from launch.config import RunConfig
from model.families.encoder_config import EncoderConfig
from model.head_config import HeadConfig
from train.config import CheckpointConfig, OptimizerConfig, TrainConfig


def tiny_model(**changes: Any) -> EncoderConfig:
    """An encoder of 0.8 M parameters over bytes and the mask. Its weights begin near 1 / sqrt(D),
    from which it learns in far fewer steps than from 0.02."""
    return replace(
        EncoderConfig(
            vocab_size=258,
            vocab_multiple=8,
            num_layers=4,
            embed_dim=128,
            num_heads=4,
            head_dim=32,
            mlp_dim=512,
            max_length=256,
            norm_place="before",
            positions="rotary",
            activation="gelu",
            init_std=0.08,
        ),
        **changes,
    )


def tiny_bert(name: str) -> RunConfig:
    """A 0.8 M parameter encoder that fills in hidden bytes of the sources of Python's standard
    library.

    Command: `meshloom train tiny-bert`. Hardware: any CPU. Expect about two minutes on 2 cores.
    Source: sizes of our own.
    """
    return RunConfig(
        preset=name,
        model=tiny_model(dropout=0.0),
        data=MaskedConfig(),
        train=TrainConfig(
            steps=200,
            batch_size=16,
            eval_every=100,
            optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=20),
            checkpoint=CheckpointConfig(every_steps=100),
        ),
    )


def tiny_labels(name: str) -> RunConfig:
    """The same encoder, which learns the label of a text, from scratch.

    Command: `meshloom train tiny-labels --data.sources csv:train.csv --model.head.outputs 2`,
    of a file whose first line is `text,label`. Hardware: any CPU. Expect minutes on 2 cores.
    Source: sizes of our own.
    """
    head = HeadConfig(kind="labels", outputs=2, pooling="mean", transform="tanh")
    return _tiny(name, head, LabelledConfig(sources=("csv:train.csv",)))


def tiny_tags(name: str) -> RunConfig:
    """The same encoder, which learns the tag of each word, from scratch.

    Command: `meshloom train tiny-tags --data.sources conll:train.txt --model.head.outputs 9`,
    of a file with a word and a tag a line. Hardware: any CPU. Expect minutes on 2 cores.
    Source: sizes of our own.
    """
    head = HeadConfig(kind="tags", outputs=9)
    return _tiny(name, head, TaggedConfig(sources=("conll:train.txt",), sequence_length=256))


def tiny_answers(name: str) -> RunConfig:
    """The same encoder, which learns where the answer to a question stands in its context.

    Command: `meshloom train tiny-answers --data.sources jsonl:train.jsonl`, of objects with
    `question`, `context` and `answers`. Hardware: any CPU. Expect minutes on 2 cores.
    Source: sizes of our own.
    """
    data = AnswersConfig(sources=("jsonl:train.jsonl",), sequence_length=256, overlap=64)
    return _tiny(name, HeadConfig(kind="span"), data)


def tiny_embedding(name: str) -> RunConfig:
    """The same encoder, which learns sentence embeddings from pairs that mean the same.

    Command: `meshloom train tiny-embedding --data.sources csv:pairs.csv`, of a file whose
    first line is `text,pair`. Hardware: any CPU. Expect minutes on 2 cores.
    Source: sizes of our own.
    """
    head = HeadConfig(kind="embedding", pooling="mean")
    return _tiny(name, head, PairsConfig(sources=("csv:pairs.csv",)))


def _tiny(name: str, head: HeadConfig, data: DataKind) -> RunConfig:
    return RunConfig(
        preset=name,
        model=tiny_model(head=head),
        data=data,
        train=TrainConfig(
            steps=1000,
            batch_size=32,
            eval_every=200,
            eval_batches=1000,
            optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=100, beta2=0.98),
            checkpoint=CheckpointConfig(every_steps=200, keep_best=1),
        ),
    )


BERT_VOCABULARY = 30_522
BERT_SIZES = {"bert-base": (12, 768, 12), "bert-large": (24, 1024, 16)}


def bert(name: str) -> RunConfig:
    """BERT, uncased: norms after sums, learned positions, token types, GELU, dropout 0.1.

    Command: `meshloom train bert-base --data.sources 'jsonl:web/*.jsonl.zst'`. Hardware: base one
    accelerator of 80 GB, large four; the paper's 16 and 64 TPU v2 chips took 4 days. The paper's
    masked accuracy is in no table. All rows have 512 tokens, where the paper takes 128 for nine
    tenths of the steps, and no next sentence is predicted, as RoBERTa found that it does not help.
    Source: Devlin et al. 2018, sections 3 and A.2.
    """
    layers, width, heads = BERT_SIZES[name]
    model = EncoderConfig(
        vocab_size=BERT_VOCABULARY,
        num_layers=layers,
        embed_dim=width,
        num_heads=heads,
        head_dim=width // heads,
        mlp_dim=4 * width,
        max_length=512,
        norm_epsilon=1e-12,
        activation="gelu",
    )
    optimizer = OptimizerConfig(
        learning_rate=1e-4,
        schedule="linear",
        final_fraction=0.0,
        warmup_steps=10_000,
        beta2=0.999,
        epsilon=1e-6,
        weight_decay=0.01,
    )
    return _published(name, model, 1_000_000, 256, 0.15, 512, optimizer)


MODERNBERT_VOCABULARY = 50_368


def modernbert(name: str) -> RunConfig:
    """ModernBERT: norms before sublayers, RoPE, GeGLU, no biases, two local layers of 128 tokens
    to each that sees all.

    Command: `meshloom train modernbert-base --data.sources 'jsonl:web/*.jsonl.zst'`. Hardware: one
    accelerator of 80 GB (with `--train.accumulation 64`), eight for the paper's 1.7 T tokens. The
    last 0.3 T of 8,192 tokens a row are another run. The paper takes StableAdamW; no table has a
    masked accuracy.
    Source: Warner et al. 2024, section 2; parameters as in the released weights.
    """
    model = EncoderConfig(
        vocab_size=MODERNBERT_VOCABULARY,
        num_layers=22,
        embed_dim=768,
        num_heads=12,
        head_dim=64,
        mlp_dim=1152,
        max_length=8192,
        norm_place="before",
        first_norm=False,
        positions="rotary",
        rope_theta=160_000.0,
        window=65,
        global_every=3,
        local_rope_theta=10_000.0,
        activation="gelu",
        gated=True,
        bias=False,
        token_types=0,
        dropout=0.0,
    )
    optimizer = OptimizerConfig(
        learning_rate=8e-4,
        schedule="wsd",
        final_fraction=0.0,
        warmup_steps=636,
        beta2=0.98,
        epsilon=1e-6,
        weight_decay=1e-5,
    )
    return _published(name, model, 364_300, 4608, 0.3, 1024, optimizer)


ENCODERS = {
    "tiny-bert": tiny_bert,
    "tiny-labels": tiny_labels,
    "tiny-tags": tiny_tags,
    "tiny-answers": tiny_answers,
    "tiny-embedding": tiny_embedding,
    **dict.fromkeys(BERT_SIZES, bert),
    "modernbert-base": modernbert,
}


def _published(
    name: str,
    model: EncoderConfig,
    steps: int,
    batch_size: int,
    share: float,
    length: int,
    optimizer: OptimizerConfig,
) -> RunConfig:
    return RunConfig(
        preset=name,
        model=model,
        data=MaskedConfig(
            sources=("text:corpus/*.txt",),
            tokenizer="corpus/tokenizer.json",
            sequence_length=length,
            masked_share=share,
        ),
        train=TrainConfig(steps=steps, batch_size=batch_size, eval_every=1000, optimizer=optimizer),
    )
