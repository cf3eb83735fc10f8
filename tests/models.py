"""Small configs and meshes that several tests share."""

import dataclasses

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from data.batch import Kind, TokenRows, map_fields
from data.config import DataConfig
from launch.config import MeshConfig
from launch.process.mesh import make_mesh
from model.families.decoder_config import DecoderConfig
from model.sharding import spec
from train.config import OptimizerConfig, TrainConfig

SMALL = DecoderConfig(
    vocab_size=64,
    num_layers=2,
    embed_dim=16,
    num_heads=8,
    num_kv_heads=2,
    head_dim=4,
    mlp_dim=32,
    max_length=16,
    dtype="float32",
    attention="xla",
)
TRAIN = TrainConfig(
    steps=10,
    batch_size=8,
    loss_chunk=16,
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2),
)


def mesh_of(**sizes: int) -> Mesh:
    """A mesh over as many of the virtual devices as the sizes ask for."""
    count = int(np.prod(list(sizes.values()))) if sizes else 1
    return make_mesh(MeshConfig(**{"fsdp": 1, **sizes}), jax.devices()[:count])


def batch_of(B: int = 8, T: int = 16, V: int = 64, seed: int = 0) -> TokenRows:
    """Random rows of two documents each; some targets and one whole row do not count."""
    rng = np.random.default_rng(seed)
    windows = rng.integers(0, V, (B, T + 1)).astype(np.int32)
    border = T // 2 - 1
    positions = np.concatenate([np.arange(border), np.arange(T - border)])
    segments = np.concatenate([np.ones(border), np.full(T - border, 2)])
    weights = np.ones((B, T), np.float32)
    weights[:, border - 1] = 0
    weights[1] = 0
    return TokenRows(
        tokens=windows[:, :-1],
        targets=windows[:, 1:],
        positions=np.tile(positions.astype(np.int32), (B, 1)),
        segment_ids=np.tile(segments.astype(np.int32), (B, 1)),
        weights=weights,
    )


def placed(batch: Kind) -> Kind:
    """The batch on the current mesh."""
    mesh = jax.sharding.get_mesh()
    return map_fields(
        lambda rows, axes: jax.device_put(rows, NamedSharding(mesh, spec(*axes))), batch
    )


def shapes_of(B: int = 8, T: int = 16, *, packing: bool = True) -> TokenRows:
    """The shapes of batches of rows of tokens."""
    return DataConfig(sequence_length=T, packing=packing).batch_shapes(B)


def changed(config: TrainConfig, **optimizer: object) -> TrainConfig:
    """`config` with fields of its optimizer replaced."""
    return dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, **optimizer))
