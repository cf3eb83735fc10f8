"""Gemma 2 and the text of Gemma 3: norms on both sides, and layers with a window."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from model.families.decoder_config import DecoderConfig
from model.families.rope_scaling import RopeScaling
from model.published import llama
from model.published.fields import Fields
from model.published.layer_types import NEAR, WIDE, pattern_of, types_of
from model.published.names import Name, Published
from model.published.rope import parameters_of, rope_fields, rope_of, theta_of

TANH = "gelu_pytorch_tanh"
ACTIVATIONS = {"gelu_tanh": TANH}
HEAD_DIM = SCALAR = 256
"""What a config without them means."""
GEMMA3_SIZES = {
    "vocab_size": 262_208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 131_072,
}
"""The same of Gemma 3's, whose released configs leave them out where a model sees too."""


def common_config_of(
    fields: Fields, every: int, theta: float, usual: Mapping[str, int] = {}
) -> DecoderConfig:
    """What a config without them means: one layer in `every` sees all, `theta` is the base of RoPE
    there, and sizes are the `usual` ones."""

    def size(name: str) -> int:
        return fields.size(name, usual.get(name))

    D, N, L = size("hidden_size"), size("num_attention_heads"), size("num_hidden_layers")
    H = fields.size("head_dim", HEAD_DIM)
    fields.require("hidden_activation", TANH)
    fields.require("hidden_act", TANH)
    fields.require("attention_bias", False)
    fields.require("use_bidirectional_attention", False, None)
    scalar = fields.size("query_pre_attn_scalar", SCALAR)
    theta, scaling = rope_of(fields, theta, layers=WIDE)
    types = [WIDE if n % every == every - 1 else NEAR for n in range(L)]
    period, place = pattern_of(fields, types)
    window, dense = fields.size("sliding_window", 4096), period == 1
    return DecoderConfig(
        vocab_size=size("vocab_size"),
        num_layers=L,
        embed_dim=D,
        num_heads=N,
        num_kv_heads=size("num_key_value_heads"),
        head_dim=H,
        mlp_dim=size("intermediate_size"),
        max_length=size("max_position_embeddings"),
        norm="rmsnorm_1p",
        norm_epsilon=fields.get("rms_norm_eps", 1e-6),
        positions="rotary",
        rope_theta=theta,
        rope_scaling=scaling,
        query_scalar=None if scalar == H else scalar,
        attention_softcap=fields.get("attn_logit_softcapping"),
        logit_softcap=fields.get("final_logit_softcapping"),
        branch_norm="both",
        window=None if dense else window,
        global_every=2 if dense else period,
        global_place="first" if dense else place,
        activation="gelu_tanh",
        gated=True,
        bias=False,
        scale_embedding=True,
        tied_embedding=fields.get("tie_word_embeddings", True),
        init_std=fields.get("initializer_range", 0.02),
    )


def gemma2_config_of(fields: Fields) -> DecoderConfig:
    return replace(
        common_config_of(fields, 2, 1e4),
        attention_softcap=fields.unless_null("attn_logit_softcapping", 50.0),
        logit_softcap=fields.unless_null("final_logit_softcapping", 30.0),
    )


def gemma3_config_of(fields: Fields) -> DecoderConfig:
    every = fields.size("_sliding_window_pattern", fields.size("sliding_window_pattern", 6))
    config = common_config_of(fields, every, 1e6, GEMMA3_SIZES)
    local = theta_of(fields, 1e4, layers=NEAR, base="rope_local_base_freq")
    return replace(config, qk_norm="head", local_rope_theta=local)


def common_fields_of(config: DecoderConfig) -> dict[str, Any]:
    fields = llama.fields_of(config)
    activation = ACTIVATIONS.get(config.activation, config.activation)
    return {
        **{name: own for name, own in fields.items() if name not in ("hidden_act", "mlp_bias")},
        "hidden_activation": activation,
        "query_pre_attn_scalar": config.query_scalar or config.head_dim,
        "attn_logit_softcapping": config.attention_softcap,
        "final_logit_softcapping": config.logit_softcap,
        "sliding_window": config.window or 4096,
        **types_of(config),
    }


def gemma3_fields_of(config: DecoderConfig) -> dict[str, Any]:
    theta, local = config.rope_theta, config.local_rope_theta or config.rope_theta
    return {
        **common_fields_of(config),
        **rope_fields(theta, config.rope_scaling),
        "rope_local_base_freq": local,
        "rope_parameters": {
            WIDE: parameters_of(theta, config.rope_scaling),
            NEAR: parameters_of(local, RopeScaling()),
        },
    }


AT = llama.AT
NAMES = (
    *(name for name in llama.NAMES if "mlp_norm" not in name.ours),
    Name("blocks/attention_out_norm/scale", f"{AT}.post_attention_layernorm.weight"),
    Name("blocks/mlp_norm/scale", f"{AT}.pre_feedforward_layernorm.weight"),
    Name("blocks/mlp_out_norm/scale", f"{AT}.post_feedforward_layernorm.weight"),
)
NEUTRAL = ("attention_dropout", "cache_implementation", "sliding_window_size")
GEMMA2 = Published(
    family=DecoderConfig,
    config_of=gemma2_config_of,
    fields_of=common_fields_of,
    classes={"language": "Gemma2ForCausalLM"},
    names=NAMES,
    heads=llama.LANGUAGE,
    prefix="model.",
    neutral=NEUTRAL,
)
GEMMA3 = Published(
    family=DecoderConfig,
    config_of=gemma3_config_of,
    fields_of=gemma3_fields_of,
    classes={"language": "Gemma3ForCausalLM"},
    names=(*NAMES, *llama.QK_NORMS),
    heads=llama.LANGUAGE,
    prefix="model.",
    neutral=NEUTRAL,
)
