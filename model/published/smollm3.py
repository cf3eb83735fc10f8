"""SmolLM3: Llama whose every fourth layer has no RoPE."""

from dataclasses import replace
from typing import Any

from model.families.decoder_config import DecoderConfig
from model.published import llama
from model.published.fields import Fields
from model.published.layer_types import WIDE
from model.published.names import Published


def config_of(fields: Fields) -> DecoderConfig:
    every = fields.size("no_rope_layer_interval", 4)
    config = replace(llama.config_of(fields, theta=2e6, tied=True), nope_every=every)
    turned = list(fields.get("no_rope_layers", [int(own) for own in config.rotated_layers]))
    if all(turned):
        config = replace(config, nope_every=None)
    fields.require("no_rope_layers", [int(own) for own in config.rotated_layers])
    fields.require("use_sliding_window", False)
    fields.require("layer_types", [WIDE] * config.num_layers)
    return config


def fields_of(config: DecoderConfig) -> dict[str, Any]:
    return {
        **llama.fields_of(config),
        # 0 is a layer without.
        "no_rope_layers": [int(own) for own in config.rotated_layers],
        "no_rope_layer_interval": config.nope_every or 4,
        "use_sliding_window": False,
        "layer_types": [WIDE] * config.num_layers,
        # Else `transformers` takes that of the released tokenizer.
        "pad_token_id": None,
    }


SMOLLM3 = Published(
    family=DecoderConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={"language": "SmolLM3ForCausalLM"},
    names=llama.NAMES,
    heads=llama.LANGUAGE,
    prefix="model.",
    neutral=("attention_dropout", "max_window_layers", "pretraining_tp", "sliding_window"),
)
