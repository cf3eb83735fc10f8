"""Llama 2 and 3, SmolLM2 and what else has `model_type` llama; Mistral."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from data.errors import UserError
from model.families.decoder_config import DecoderConfig
from model.published.fields import Fields
from model.published.names import Name, Published, require_as

LLAMA3 = {
    "original_max_position_embeddings": 8192,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
"""What `model.attention.rotary.Rotary` stretches by."""


def config_of(fields: Fields, head_dim: int | None = None) -> DecoderConfig:
    """`head_dim` is what a config without one means; by default heads make up the width."""
    D, N = fields.size("hidden_size"), fields.size("num_attention_heads")
    theta, factor = rope(fields)
    fields.require("hidden_act", "silu")
    fields.require("attention_bias", False)
    fields.require("mlp_bias", False)
    fields.require("pretraining_tp", 1)
    return DecoderConfig(
        vocab_size=fields.size("vocab_size"),
        num_layers=fields.size("num_hidden_layers"),
        embed_dim=D,
        num_heads=N,
        num_kv_heads=fields.size("num_key_value_heads", N),
        head_dim=fields.size("head_dim", head_dim or D // N),
        mlp_dim=fields.size("intermediate_size"),
        max_length=fields.size("max_position_embeddings"),
        norm="rmsnorm",
        norm_epsilon=fields.get("rms_norm_eps", 1e-6),
        positions="rotary",
        rope_theta=theta,
        rope_scaling_factor=factor,
        activation="silu",
        gated=True,
        bias=False,
        tied_embedding=fields.get("tie_word_embeddings", False),
        init_std=fields.get("initializer_range", 0.02),
    )


def mistral_config_of(fields: Fields) -> DecoderConfig:
    window = fields.get("sliding_window", None if fields.has("sliding_window") else 4096)
    return replace(config_of(fields), window=window, window_layers="all")


def rope(fields: Fields) -> tuple[float, float]:
    """The base of the wavelengths and the factor by which long ones are stretched, by the schema of
    `transformers` 5 or that before it; ValueError for another kind of stretching."""
    parameters: Mapping[str, Any] = fields.get("rope_parameters", {})
    old: Mapping[str, Any] = fields.get("rope_scaling", {})
    theta = parameters.get("rope_theta", fields.get("rope_theta", 10_000.0))
    scaling = parameters or old
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return float(theta), 1.0
    if kind == "llama3" and all(scaling.get(name) == value for name, value in LLAMA3.items()):
        return float(theta), float(scaling["factor"])
    raise UserError(
        f"{fields.path}: rope_type={kind!r} must be 'default', or 'llama3' with "
        f"{', '.join(f'{name} {value:g}' for name, value in LLAMA3.items())}, because the model "
        f"turns its queries by it, but it has {dict(scaling)}; try another checkpoint"
    )


def fields_of(config: DecoderConfig) -> dict[str, Any]:
    """For every reader: RoPE stands there by both schemas, as older ones see none but their own."""
    require_as(config, "llama", norm="rmsnorm", positions="rotary", activation="silu", gated=True)
    require_as(config, "llama", bias=False, parallel_block=False, scale_embedding=False)
    require_as(config, "llama", parametrization="standard", depth_scaling="none", window=None)
    require_as(config, "llama", qkv_bias=False, head_norm=False)
    theta, factor = config.rope_theta, config.rope_scaling_factor
    scaling = None if factor == 1 else {"rope_type": "llama3", "factor": factor, **LLAMA3}
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.mlp_dim,
        "max_position_embeddings": config.max_length,
        "rms_norm_eps": config.norm_epsilon,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": config.tied_embedding,
        "initializer_range": config.init_std,
        "rope_theta": theta,
        "rope_scaling": scaling,
        "rope_parameters": {**(scaling or {"rope_type": "default"}), "rope_theta": theta},
    }


def mistral_fields_of(config: DecoderConfig) -> dict[str, Any]:
    if config.window is not None:
        require_as(config, "mistral", window_layers="all")
    fields = fields_of(replace(config, window=None))
    return {**fields, "sliding_window": config.window}


AT = "layers.{}"
NAMES = (
    Name("embedding/table", "embed_tokens.weight"),
    Name("blocks/attention_norm/scale", f"{AT}.input_layernorm.weight"),
    Name("blocks/attention/w_q", f"{AT}.self_attn.q_proj.weight"),
    Name("blocks/attention/w_k", f"{AT}.self_attn.k_proj.weight"),
    Name("blocks/attention/w_v", f"{AT}.self_attn.v_proj.weight"),
    Name("blocks/attention/w_o", f"{AT}.self_attn.o_proj.weight"),
    Name("blocks/mlp_norm/scale", f"{AT}.post_attention_layernorm.weight"),
    Name("blocks/mlp/w_gate", f"{AT}.mlp.gate_proj.weight"),
    Name("blocks/mlp/w_up", f"{AT}.mlp.up_proj.weight"),
    Name("blocks/mlp/w_down", f"{AT}.mlp.down_proj.weight"),
    Name("final_norm/scale", "norm.weight"),
)
LLAMA = Published(
    config_of=config_of,
    fields_of=fields_of,
    classes={"language": "LlamaForCausalLM", "labels": "LlamaForSequenceClassification"},
    poolings=("last",),
    names=NAMES,
    heads={
        "language": (Name("head/table", "lm_head.weight"),),
        "labels": (Name("task_head/table", "score.weight"),),
    },
    prefix="model.",
    unused=(r"(model\.)?layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
    neutral=("attention_dropout", "is_llama_config", "rope_interleaved", "transformers.js_config"),
)
MISTRAL = Published(
    config_of=mistral_config_of,
    fields_of=mistral_fields_of,
    classes={"language": "MistralForCausalLM"},
    names=NAMES,
    heads={"language": LLAMA.heads["language"]},
    prefix="model.",
    neutral=("attention_dropout",),
)
