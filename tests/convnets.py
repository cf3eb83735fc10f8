"""A small network of each kind of block, and a batch for it."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from data.batch import ImageRows, SeriesRows
from model.families.convnet import Convnet
from model.families.convnet_config import ConvnetConfig
from model.head_config import HeadConfig

B, C = 8, 5
LABELS = HeadConfig(kind="labels", outputs=C, pooling="mean")
BASIC = ConvnetConfig(
    stem="pooled",
    stem_channels=16,
    stem_kernel=3,
    stem_stride=1,
    depths=(2,),
    channels=(32,),
    strides=(2,),
    kernels=(3,),
    expansions=(1,),
    groups=4,
    drop_path=0.4,
    dropout=0.1,
    head=LABELS,
    dtype="float32",
    convolutions="cpu",
)
NETWORKS = {
    "plain": dataclasses.replace(
        BASIC, dimensions=1, input_channels=2, stem="none", block="plain", kernels=(8,)
    ),
    "basic": BASIC,
    "bottleneck": dataclasses.replace(BASIC, block="bottleneck", expansions=(4,), norm="affine"),
    "convnext": dataclasses.replace(
        BASIC,
        stem="patches",
        stem_stride=2,
        block="convnext",
        expansions=(2,),
        norm="layer",
        activation="gelu",
        layer_scale=0.5,
        convolutions="tpu",
        head=dataclasses.replace(LABELS, transform="normed"),
    ),
    "inverted": dataclasses.replace(
        BASIC,
        block="inverted",
        expansions=(2,),
        activation="relu6",
        padding="ends",
        last_channels=48,
        convolutions="tpu",
    ),
}


def network(config: ConvnetConfig) -> Convnet:
    """Random weights on the current mesh, drawn by NumPy, as that compiles nothing."""
    shapes = jax.eval_shape(lambda: Convnet(config, jax.random.key(0)))
    leaves, tree = jax.tree.flatten_with_path(shapes)
    draw, mesh = np.random.default_rng(0), jax.sharding.get_mesh()

    def weight(path: Any, shape: Any) -> jax.Array:
        spread = 0.2 if len(shape.shape) == 1 else (2 / np.prod(shape.shape[:-1])) ** 0.5
        values = spread * draw.normal(size=shape.shape)
        values += jax.tree_util.keystr(path).endswith(".scale.value")
        sharding = NamedSharding(mesh, shape.sharding.spec)
        return jax.device_put(values.astype(np.float32), sharding)

    return tree.unflatten([weight(path, shape) for path, shape in leaves])


def batch_for(kind: str) -> Any:
    """Random rows, of which one does not count."""
    draw, config = np.random.default_rng(0), NETWORKS[kind]
    places = (10, 12)[: config.dimensions]
    rows = draw.normal(size=(B, *places, config.input_channels)).astype(np.float32)
    targets = draw.integers(0, C, B).astype(np.int32)
    weights = np.ones(B, np.float32)
    weights[1] = 0
    if config.dimensions == 1:
        return SeriesRows(rows, targets, weights)
    return ImageRows(rows, targets, None, None, weights)
