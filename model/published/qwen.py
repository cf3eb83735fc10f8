"""Qwen2 and 2.5: Llama with biases of queries, keys and values; Qwen3: with norms of them."""

from dataclasses import replace
from typing import Any

from model.families.decoder_config import DecoderConfig
from model.published import llama
from model.published.fields import Fields
from model.published.layer_types import WIDE
from model.published.names import Name, Published

NEUTRAL = ("attention_dropout", "max_window_layers", "sliding_window")
"""The window is not used unless `use_sliding_window` says so."""


def qwen2_config_of(fields: Fields) -> DecoderConfig:
    return replace(dense_config_of(fields), qkv_bias=True)


def qwen3_config_of(fields: Fields) -> DecoderConfig:
    return replace(dense_config_of(fields, head_dim=128), qk_norm="head")


def dense_config_of(fields: Fields, head_dim: int | None = None) -> DecoderConfig:
    """All layers see everything."""
    fields.require("use_sliding_window", False)
    fields.require("use_mrope", False)
    fields.require("layer_types", [WIDE] * fields.size("num_hidden_layers"))
    return llama.config_of(fields, head_dim)


def qwen2_fields_of(config: DecoderConfig) -> dict[str, Any]:
    fields = llama.fields_of(config)
    return {name: fields[name] for name in fields if name not in ("attention_bias", "mlp_bias")}


def qwen3_fields_of(config: DecoderConfig) -> dict[str, Any]:
    return {name: value for name, value in llama.fields_of(config).items() if name != "mlp_bias"}


AT = llama.AT
QWEN2 = Published(
    family=DecoderConfig,
    config_of=qwen2_config_of,
    fields_of=qwen2_fields_of,
    classes={"language": "Qwen2ForCausalLM"},
    names=(
        *llama.NAMES,
        Name("blocks/attention/b_q", f"{AT}.self_attn.q_proj.bias"),
        Name("blocks/attention/b_k", f"{AT}.self_attn.k_proj.bias"),
        Name("blocks/attention/b_v", f"{AT}.self_attn.v_proj.bias"),
    ),
    heads=llama.LANGUAGE,
    prefix="model.",
    neutral=NEUTRAL,
)
QWEN3 = Published(
    family=DecoderConfig,
    config_of=qwen3_config_of,
    fields_of=qwen3_fields_of,
    classes={"language": "Qwen3ForCausalLM"},
    names=(*llama.NAMES, *llama.QK_NORMS),
    heads=llama.LANGUAGE,
    prefix="model.",
    neutral=NEUTRAL,
)
