"""Phi-3 and 4: Llama with fused matrices, of whose heads a share of the channels may turn."""

from dataclasses import replace
from typing import Any

from data.errors import UserError
from model.families.decoder_config import DecoderConfig
from model.published import llama
from model.published.fields import Fields
from model.published.names import Name, Published


def config_of(fields: Fields) -> DecoderConfig:
    parameters = fields.get("rope_parameters", {})
    share = parameters.get("partial_rotary_factor", fields.get("partial_rotary_factor", 1.0))
    config = replace(llama.config_of(fields, epsilon=1e-5), rotary_share=float(share))
    if config.rope_scaling.kind != "none":
        raise UserError(
            f"{fields.path}: rope_type={config.rope_scaling.kind!r} must be 'default', because "
            "`transformers` stretches RoPE of these by LongRoPE alone, which is not here; try "
            "another checkpoint"
        )
    return llama.windowed(config, fields.get("sliding_window"))


def fields_of(config: DecoderConfig) -> dict[str, Any]:
    fields = {name: own for name, own in llama.fields_of(config).items() if name != "mlp_bias"}
    share = {"partial_rotary_factor": config.rotary_share}
    return {
        **fields,
        **share,
        "rope_parameters": {**fields["rope_parameters"], **share},
        "sliding_window": config.window,
        # Else `transformers` takes that of a tokenizer of theirs.
        "pad_token_id": None,
    }


AT, QKV, UPS = llama.AT, "self_attn.qkv_proj.weight", "mlp.gate_up_proj.weight"
FUSED = {
    "blocks/attention/w_q": (QKV, 0),
    "blocks/attention/w_k": (QKV, 1),
    "blocks/attention/w_v": (QKV, 2),
    "blocks/mlp/w_gate": (UPS, 0),
    "blocks/mlp/w_up": (UPS, 1),
}
PHI3 = Published(
    family=DecoderConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={"language": "Phi3ForCausalLM"},
    names=(
        *(name for name in llama.NAMES if name.ours not in FUSED),
        *(Name(ours, f"{AT}.{theirs}", part) for ours, (theirs, part) in FUSED.items()),
    ),
    heads=llama.LANGUAGE,
    prefix="model.",
    neutral=(
        *("attention_dropout", "embd_pdrop", "resid_pdrop"),
        "original_max_position_embeddings",
    ),
)
