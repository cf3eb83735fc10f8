"""A small encoder and a batch for each question that it can be asked."""

import dataclasses
from typing import Any

import numpy as np

from data.batch import (
    LabelledRows,
    ManyLabelsRows,
    MaskedRows,
    ParallelRows,
    ScoredRows,
    SpanRows,
    TaggedRows,
)
from model.families.encoder_config import EncoderConfig
from model.head_config import HeadConfig

B, T, K, V, C = 8, 8, 2, 29, 3
ENCODER = EncoderConfig(
    vocab_size=V,
    vocab_multiple=8,
    num_layers=3,
    embed_dim=16,
    num_heads=8,
    head_dim=4,
    mlp_dim=32,
    max_length=16,
    init_std=0.1,
    activation="gelu",
    dtype="float32",
    attention="xla",
)
MODERN = dataclasses.replace(
    ENCODER,
    norm_place="before",
    first_norm=False,
    positions="rotary",
    window=3,
    gated=True,
    bias=False,
    token_types=0,
)
HEADS = {
    "masked": HeadConfig(),
    "labels": HeadConfig(kind="labels", outputs=C, transform="tanh"),
    "several": HeadConfig(kind="labels", outputs=C, pooling="mean", transform="norm"),
    "number": HeadConfig(kind="labels", outputs=1, pooling="last"),
    "tags": HeadConfig(kind="tags", outputs=C),
    "span": HeadConfig(kind="span"),
    # A temperature of 0.05 would multiply rounding by 20.
    "embedding": HeadConfig(kind="embedding", pooling="mean", temperature=1.0),
}


def asked(question: str, base: EncoderConfig = ENCODER) -> EncoderConfig:
    """The encoder with the head of a question."""
    return dataclasses.replace(base, head=HEADS[question])


def batch_for(question: str) -> Any:
    """Random rows of different lengths, of which one does not count."""
    draw = np.random.default_rng(0)
    tokens, others = draw.integers(0, V, (2, B, T)).astype(np.int32)
    segments = (np.arange(T)[None] < draw.integers(4, T + 1, (B, 1))).astype(np.int32)
    types = (np.arange(T)[None] >= 3).astype(np.int32) * segments
    weights = np.ones(B, np.float32)
    weights[1] = 0
    text = (tokens, segments, types)
    labels = draw.integers(0, C, B).astype(np.int32)
    if question == "masked":
        places = np.sort(draw.permuted(np.tile(np.arange(T), (B, 1)), axis=1)[:, :K]).astype(
            np.int32
        )
        targets = draw.integers(0, V, (B, K)).astype(np.int32)
        full = np.broadcast_to(weights[:, None], (B, K)).copy()
        return MaskedRows(tokens, targets, places, None, segments, full)
    if question == "labels":
        return LabelledRows(*text, targets=labels, weights=weights)
    if question == "several":
        return ManyLabelsRows(
            *text, targets=draw.integers(0, 2, (B, C)).astype(np.float32), weights=weights
        )
    if question == "number":
        return ScoredRows(
            *text, targets=draw.normal(size=(B, 1)).astype(np.float32), weights=weights
        )
    if question == "tags":
        targets = draw.integers(0, C, (B, T)).astype(np.int32)
        return TaggedRows(*text, targets=targets, weights=segments * weights[:, None])
    if question == "span":
        ends = np.stack([np.full(B, 1), np.full(B, 3)], axis=1).astype(np.int32)
        return SpanRows(*text, places=segments, targets=ends, weights=weights)
    assert question == "embedding"
    return ParallelRows(tokens, segments, others, segments, weights)
