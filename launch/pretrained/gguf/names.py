"""What GGUF calls the parts of a Llama, for reading and writing."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from model.attention.rates import rotary_rates
from model.families.rope_scaling import RopeScaling

ARCHITECTURE = "llama"
LAYER = "model.layers.{}"
NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "blk.{}.attn_norm.weight": f"{LAYER}.input_layernorm.weight",
    "blk.{}.attn_q.weight": f"{LAYER}.self_attn.q_proj.weight",
    "blk.{}.attn_k.weight": f"{LAYER}.self_attn.k_proj.weight",
    "blk.{}.attn_v.weight": f"{LAYER}.self_attn.v_proj.weight",
    "blk.{}.attn_output.weight": f"{LAYER}.self_attn.o_proj.weight",
    "blk.{}.ffn_norm.weight": f"{LAYER}.post_attention_layernorm.weight",
    "blk.{}.ffn_gate.weight": f"{LAYER}.mlp.gate_proj.weight",
    "blk.{}.ffn_up.weight": f"{LAYER}.mlp.up_proj.weight",
    "blk.{}.ffn_down.weight": f"{LAYER}.mlp.down_proj.weight",
}
"""Of tensors, and those that `transformers` has."""
TURNED = (".attn_q.", ".attn_k.")
"""Tensors whose rows stand in pairs of channels that RoPE turns, where ours stand in halves."""
SIZES = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "vocab_size": "vocab_size",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
}
"""Fields of config.json, and what stands for them after the name of the architecture."""
HEAD = ("rope.dimension_count", "attention.key_length", "attention.value_length")
"""Sizes that are those of a head."""
FACTORS = "rope_freqs.weight"
"""What the wavelengths of the channel pairs are stretched by."""


def require_keys(path: Path, known: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Raise ValueError for a key that a file at a path does not have."""
    if lacking := [key for key in keys if key not in known]:
        raise UserError(
            f"{path} must have {', '.join(lacking)}, because the model, or what cuts its text, is "
            "made by that, but it has not; try another file of that model, or its safetensors"
        )


def their_name(name: str) -> str:
    """The name that `transformers` has for a tensor; its own if there is none."""
    return _renamed(name, r"blk\.(\d+)\.", "blk.{}.", NAMES)


def gguf_name(name: str) -> str:
    """The name in GGUF of a tensor of `transformers`; its own if there is none."""
    names = {theirs: ours for ours, theirs in NAMES.items()}
    return _renamed(name, r"model\.layers\.(\d+)\.", f"{LAYER}.", names)


def turned(name: str) -> bool:
    """Whether the rows of that tensor of GGUF stand in pairs."""
    return any(part in name for part in TURNED)


def in_halves(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of whole heads as ours have them, from rows in pairs."""
    pairs = rows.reshape(-1, head_dim // 2, 2, rows.shape[-1])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def in_pairs(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of whole heads as GGUF has them: the two channels that turn together are neighbours."""
    halves = rows.reshape(-1, 2, head_dim // 2, rows.shape[-1])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def stretching(head_dim: int, theta: float, scaling: RopeScaling) -> np.ndarray:
    """What the rate of each channel pair is divided by, float32 [H/2]."""
    return rotary_rates(head_dim, theta) / rotary_rates(head_dim, theta, scaling)


def _renamed(name: str, layer: str, common: str, names: Mapping[str, str]) -> str:
    number = re.match(layer, name)
    renamed = names.get(re.sub(f"^{layer}", lambda _: common, name), name)
    return renamed.format(number[1] if number else "")
