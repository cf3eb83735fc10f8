"""Llama 2 and 3, SmolLM2 and what else has `model_type` llama; Mistral."""

from dataclasses import replace
from typing import Any

from model.families.decoder_config import DecoderConfig
from model.published.fields import Fields
from model.published.names import Name, Published
from model.published.rope import rope_fields, rope_of


def config_of(
    fields: Fields,
    head_dim: int | None = None,
    *,
    theta: float = 10_000.0,
    epsilon: float = 1e-6,
    tied: bool = False,
) -> DecoderConfig:
    """What a config without them means: `head_dim`, by default so that heads make up the width;
    `theta`, the base of RoPE; `epsilon` of norms; whether tables are `tied`."""
    D, N = fields.size("hidden_size"), fields.size("num_attention_heads")
    theta, scaling = rope_of(fields, theta)
    fields.require("hidden_act", "silu")
    fields.require("attention_bias", False)
    fields.require("mlp_bias", False)
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
        norm_epsilon=fields.get("rms_norm_eps", epsilon),
        positions="rotary",
        rope_theta=theta,
        rope_scaling=scaling,
        activation="silu",
        gated=True,
        bias=False,
        tied_embedding=fields.get("tie_word_embeddings", tied),
        init_std=fields.get("initializer_range", 0.02),
    )


def mistral_config_of(fields: Fields) -> DecoderConfig:
    return windowed(config_of(fields), fields.unless_null("sliding_window", 4096))


def windowed(config: DecoderConfig, window: int | None) -> DecoderConfig:
    """With a window in all layers, if there is one."""
    return config if window is None else replace(config, window=window, global_every=None)


def fields_of(config: DecoderConfig) -> dict[str, Any]:
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
        "hidden_act": config.activation,
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "tie_word_embeddings": config.tied_embedding,
        "initializer_range": config.init_std,
        **rope_fields(config.rope_theta, config.rope_scaling),
    }


def mistral_fields_of(config: DecoderConfig) -> dict[str, Any]:
    return {**fields_of(config), "sliding_window": config.window}


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
QK_NORMS = (
    Name("blocks/attention/q_norm/scale", f"{AT}.self_attn.q_norm.weight"),
    Name("blocks/attention/k_norm/scale", f"{AT}.self_attn.k_norm.weight"),
)
LANGUAGE = {"language": (Name("head/table", "lm_head.weight"),)}
LLAMA = Published(
    family=DecoderConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={"language": "LlamaForCausalLM", "labels": "LlamaForSequenceClassification"},
    poolings=("last",),
    names=NAMES,
    heads={**LANGUAGE, "labels": (Name("task_head/table", "score.weight"),)},
    prefix="model.",
    unused=(r"(model\.)?layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
    neutral=(
        *("attention_dropout", "is_llama_config", "pretraining_tp", "rope_interleaved"),
        "transformers.js_config",
    ),
)
MISTRAL = Published(
    family=DecoderConfig,
    config_of=mistral_config_of,
    fields_of=mistral_fields_of,
    classes={"language": "MistralForCausalLM"},
    names=NAMES,
    heads=LANGUAGE,
    prefix="model.",
    neutral=("attention_dropout",),
)
