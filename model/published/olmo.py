"""OLMo 2: Llama with norms of what is added to the residual stream, and of all queries and keys."""

from dataclasses import replace
from typing import Any

from model.families.decoder_config import DecoderConfig
from model.published import llama
from model.published.fields import Fields
from model.published.names import Name, Published


def config_of(fields: Fields) -> DecoderConfig:
    return replace(llama.config_of(fields, epsilon=1e-5), qk_norm="all", branch_norm="after")


def fields_of(config: DecoderConfig) -> dict[str, Any]:
    return {name: value for name, value in llama.fields_of(config).items() if name != "mlp_bias"}


AT = llama.AT
PLAIN = tuple(name for name in llama.NAMES if "_norm/" not in name.ours)
OLMO2 = Published(
    family=DecoderConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={"language": "Olmo2ForCausalLM"},
    names=(
        *PLAIN,
        *llama.QK_NORMS,
        Name("blocks/attention_out_norm/scale", f"{AT}.post_attention_layernorm.weight"),
        Name("blocks/mlp_out_norm/scale", f"{AT}.post_feedforward_layernorm.weight"),
        Name("final_norm/scale", "norm.weight"),
    ),
    heads=llama.LANGUAGE,
    prefix="model.",
    neutral=("attention_dropout",),
)
