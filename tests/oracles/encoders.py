"""Small encoders of three published kinds, with weights drawn by their names, and their inputs."""

import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.families.encoder_config import EncoderConfig
from model.head_config import HeadConfig

GOLDEN = Path(__file__).with_name("encoders.npz")
"""Hidden states and scores of each kind, which `python -m tests.oracles` writes."""

BERT = EncoderConfig(
    vocab_size=61,
    num_layers=3,
    embed_dim=32,
    num_heads=4,
    head_dim=8,
    mlp_dim=64,
    max_length=24,
    norm_epsilon=1e-12,
    activation="gelu",
    dtype="float32",
    attention="xla",
)
KINDS = {
    "bert": BERT,
    "bert-labels": replace(BERT, head=HeadConfig(kind="labels", outputs=5, transform="tanh")),
    "roberta": replace(BERT, first_position=2, token_types=1, norm_epsilon=1e-5),
    "modernbert": replace(
        BERT,
        num_layers=5,
        norm_place="before",
        norm_epsilon=1e-5,
        first_norm=False,
        positions="rotary",
        rope_theta=160_000.0,
        window=4,
        gated=True,
        bias=False,
        token_types=0,
        dropout=0.0,
    ),
}
ROWS, LENGTH = 3, 20
LENGTHS = (20, 13, 7)
"""Real tokens of each row; the others are padding."""


def drawn(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights of these names and shapes: normal, and near 1 for the scales of norms."""
    weights = {}
    for name, shape in shapes.items():
        values = 0.2 * np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
        weights[name] = (values + name.endswith("scale")).astype(np.float32)
    return weights


def inputs(config: EncoderConfig) -> dict[str, np.ndarray]:
    """Tokens (none is RoBERTa's padding, 1), types and which of them are real, [B, T]."""
    draw = np.random.default_rng(0)
    shape = (ROWS, LENGTH)
    real = np.arange(LENGTH)[None] < np.array(LENGTHS)[:, None]
    return {
        "tokens": draw.integers(2, config.vocab_size, shape).astype(np.int32),
        "types": draw.integers(0, max(1, config.token_types), shape).astype(np.int32),
        "real": real.astype(np.int32),
    }
