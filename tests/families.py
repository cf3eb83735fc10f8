"""A small model of each published family, and compiler settings for tests that do not time or
keep."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from model.families.decoder import Decoder
from model.families.decoder_config import DecoderConfig
from model.families.rope_scaling import RopeScaling
from model.sharding import spec

# N 8 and V 32 so that tensor 8 divides them; weights large enough that every path shows in the
# result.
GPT = DecoderConfig(
    vocab_size=29,
    vocab_multiple=8,
    num_layers=2,
    embed_dim=16,
    num_heads=8,
    num_kv_heads=8,
    head_dim=4,
    mlp_dim=32,
    max_length=16,
    init_std=0.3,
    dtype="float32",
    attention="xla",
)
LLAMA = dataclasses.replace(
    GPT,
    num_kv_heads=2,
    norm="rmsnorm",
    positions="rotary",
    rope_scaling=RopeScaling(kind="llama3", factor=8.0),
    activation="silu",
    gated=True,
    bias=False,
    tied_embedding=False,
)
PALM = dataclasses.replace(
    GPT,
    num_kv_heads=1,
    positions="rotary",
    activation="silu",
    gated=True,
    bias=False,
    parallel_block=True,
    scale_embedding=True,
)
BANDED = dataclasses.replace(GPT, window=3)
VASWANI = dataclasses.replace(GPT, positions="sinusoidal", activation="relu", scale_embedding=True)
QWEN = dataclasses.replace(LLAMA, rope_scaling=RopeScaling(), qkv_bias=True, qk_norm="head")
"""With what Qwen2 and Qwen3 have beyond Llama."""
OLMO = dataclasses.replace(
    LLAMA,
    rope_scaling=RopeScaling(),
    qk_norm="all",
    branch_norm="after",
    rotary_share=0.5,
    nope_every=2,
)
"""With what OLMo 2 has, Phi's partial rotary positions, and SmolLM3's layers without any."""
GEMMA = dataclasses.replace(
    LLAMA,
    norm="rmsnorm_1p",
    rope_scaling=RopeScaling(kind="linear", factor=8.0),
    local_rope_theta=100.0,
    activation="gelu_tanh",
    tied_embedding=True,
    scale_embedding=True,
    qk_norm="head",
    query_scalar=6,
    attention_softcap=2.0,
    logit_softcap=3.0,
    branch_norm="both",
    window=3,
    global_place="last",
)
"""With what Gemma 2 and 3 have."""
FAMILIES = {
    "gpt": GPT,
    "llama": LLAMA,
    "palm": PALM,
    "banded": BANDED,
    "vaswani": VASWANI,
    "qwen": QWEN,
    "olmo": OLMO,
    "gemma": GEMMA,
}

# For `jax.jit(compiler_options=...)`.
QUICK: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


def fresh_model(config: DecoderConfig) -> Decoder:
    """Initial parameters on the current mesh."""
    return jax.jit(lambda: Decoder(config, jax.random.key(0)), compiler_options=QUICK)()


def on_current_mesh(model: Decoder) -> Decoder:
    """The same parameters, laid out as the current mesh wants them."""
    wanted = jax.eval_shape(lambda: Decoder(model.config, jax.random.key(0)))
    shapes, tree = jax.tree.flatten(wanted)
    mesh = jax.sharding.get_mesh()
    return tree.unflatten(
        jax.device_put(value, NamedSharding(mesh, shape.sharding.spec))
        for value, shape in zip(jax.tree.leaves(model), shapes, strict=True)
    )


def rows(array: np.ndarray) -> jax.Array:
    """A [B, T] array on the current mesh."""
    mesh = jax.sharding.get_mesh()
    return jax.device_put(array, NamedSharding(mesh, spec("batch", "length")))


def layout(array: jax.Array) -> tuple[object, ...]:
    """Mesh axes of every dimension."""
    assert isinstance(array.sharding, NamedSharding)
    return tuple(array.sharding.spec)
