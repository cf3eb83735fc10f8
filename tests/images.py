"""A small Vision Transformer, with all that DINOv2 has, and a batch for each question."""

import dataclasses
from typing import Any

import numpy as np

from data.batch import ImageRows, PatchRows
from model.families.vision_config import VisionConfig
from model.head_config import HeadConfig

B, C = 8, 3
VIT = VisionConfig(
    num_layers=2,
    embed_dim=16,
    num_heads=8,
    head_dim=4,
    mlp_dim=32,
    image_size=(8, 12),
    patch_size=4,
    channels=2,
    dropout=0.1,
    init_std=0.1,
    head=HeadConfig(kind="labels", outputs=C),
    dtype="float32",
    attention="xla",
)
DINO = dataclasses.replace(
    VIT,
    registers=2,
    layer_scale=0.5,
    gated=True,
    activation="silu",
    mask_token=True,
    head=HeadConfig(kind="labels", outputs=C, pooling="first_and_mean"),
)
TAGS = dataclasses.replace(DINO, head=HeadConfig(kind="tags", outputs=C))
MEAN = dataclasses.replace(
    VIT, class_token=False, head=HeadConfig(kind="labels", outputs=C, pooling="mean")
)
MODELS = {"vit": VIT, "dino": DINO, "tags": TAGS, "mean": MEAN}


def batch_for(config: VisionConfig) -> Any:
    """Random images, mixed in pairs, of which one does not count."""
    draw = np.random.default_rng(0)
    shape = (B, *config.image_size, config.channels)
    images = draw.normal(size=shape).astype(np.float32)
    weights = np.ones(B, np.float32)
    weights[1] = 0
    labels, others = draw.integers(0, C, (2, B)).astype(np.int32)
    if config.head.kind == "labels":
        shares = draw.uniform(size=B).astype(np.float32)
        return ImageRows(images, labels, others, shares, weights)
    places = config.grid[0] * config.grid[1]
    targets = draw.integers(0, C, (B, places)).astype(np.int32)
    return PatchRows(images, targets, np.repeat(weights[:, None], places, 1))
