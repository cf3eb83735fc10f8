"""Presets of recurrent networks."""

from typing import Any, Literal

from data.config import DataConfig, DataKind
from data.examples_config import LabelledConfig, TaggedConfig, TargetsConfig
from launch.config import RunConfig
from model.families.family import FamilyConfig
from model.families.recurrent_config import RecurrentConfig, RecurrentEncoderDecoderConfig
from model.head_config import HeadConfig
from train.config import CheckpointConfig, OptimizerConfig, TrainConfig

CELLS: dict[str, Literal["lstm", "gru"]] = {"tiny-lstm": "lstm", "tiny-gru": "gru"}


def tiny_language(name: str) -> RunConfig:
    """A 0.9 M parameter language model of two layers, LSTM or GRU (0.7 M), over bytes, on the
    sources of Python's standard library.

    Command: `meshloom train tiny-lstm`. Hardware: any CPU. Expect minutes on 2 cores.
    Source: sizes of our own.
    """
    model = RecurrentConfig(
        cell=CELLS[name],
        vocab_size=257,
        vocab_multiple=8,
        num_layers=2,
        embed_dim=224,
        hidden_dim=224,
    )
    return _run(name, model, DataConfig(), steps=200, batch_size=16, every=100)


def tiny_lstm_labels(name: str) -> RunConfig:
    """A bidirectional LSTM of 0.5 M parameters over bytes, which learns the label of a text.

    Command: `meshloom train tiny-lstm-labels --data.sources csv:train.csv --model.head.outputs 2`,
    of a file whose first line is `text,label`. Hardware: any CPU. Expect minutes on 2 cores.
    Source: sizes of our own.
    """
    head = HeadConfig(kind="labels", outputs=2, pooling="mean", transform="tanh")
    data = LabelledConfig(sources=("csv:train.csv",))
    return _run(name, _reader(head, num_layers=2), data, steps=500, batch_size=32, every=100)


def tiny_lstm_tags(name: str) -> RunConfig:
    """A bidirectional LSTM of 0.4 M parameters over bytes, which learns the tag of each word.

    Command: `meshloom train tiny-lstm-tags --data.sources conll:train.txt --model.head.outputs 9`,
    of a file with a word and a tag a line. Hardware: any CPU. Expect minutes on 2 cores.
    Source: sizes of our own.
    """
    head = HeadConfig(kind="tags", outputs=9)
    data = TaggedConfig(sources=("conll:train.txt",), sequence_length=256)
    return _run(name, _reader(head, num_layers=2), data, steps=500, batch_size=32, every=100)


def tiny_lstm_pairs(name: str) -> RunConfig:
    """An LSTM encoder-decoder of 0.7 M parameters over bytes with attention, which reads a text
    from both ends and learns to write another of it.

    Command: `meshloom train tiny-lstm-pairs --data.sources jsonl:train.jsonl`, of objects with
    `source` and `target`. Hardware: any CPU. Expect minutes on 2 cores.
    Source: sizes of our own.
    """
    model = RecurrentEncoderDecoderConfig(
        vocab_size=257,
        vocab_multiple=8,
        num_layers=1,
        embed_dim=192,
        hidden_dim=192,
        bidirectional=True,
    )
    data = TargetsConfig(sources=("jsonl:train.jsonl",))
    return _run(name, model, data, steps=1000, batch_size=32, every=200, eval_batches=1000)


def _reader(head: HeadConfig, **sizes: Any) -> RecurrentConfig:
    return RecurrentConfig(
        vocab_size=257,
        vocab_multiple=8,
        embed_dim=128,
        hidden_dim=192,
        bidirectional=True,
        dropout=0.1,
        head=head,
        **sizes,
    )


def _run(
    name: str,
    model: FamilyConfig,
    data: DataKind,
    *,
    steps: int,
    batch_size: int,
    every: int,
    **train: Any,
) -> RunConfig:
    return RunConfig(
        preset=name,
        model=model,
        data=data,
        train=TrainConfig(
            steps=steps,
            batch_size=batch_size,
            eval_every=every,
            optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=steps // 10),
            checkpoint=CheckpointConfig(every_steps=every),
            **train,
        ),
    )


RECURRENT = {
    **dict.fromkeys(CELLS, tiny_language),
    "tiny-lstm-labels": tiny_lstm_labels,
    "tiny-lstm-tags": tiny_lstm_tags,
    "tiny-lstm-pairs": tiny_lstm_pairs,
}
