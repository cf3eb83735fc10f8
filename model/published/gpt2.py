"""GPT-2."""

from typing import Any

from model.families.decoder_config import DecoderConfig
from model.published.fields import Fields
from model.published.names import Name, Published, dense, pairs


def config_of(fields: Fields) -> DecoderConfig:
    D, N = fields.size("n_embd"), fields.size("n_head")
    fields.require("activation_function", "gelu_new", "gelu_pytorch_tanh")
    fields.require("scale_attn_weights", True)
    fields.require("scale_attn_by_inverse_layer_idx", False)
    return DecoderConfig(
        vocab_size=fields.size("vocab_size"),
        num_layers=fields.size("n_layer"),
        embed_dim=D,
        num_heads=N,
        num_kv_heads=N,
        head_dim=D // N,
        mlp_dim=fields.size("n_inner", 4 * D),
        max_length=fields.size("n_positions"),
        norm_epsilon=fields.get("layer_norm_epsilon", 1e-5),
        tied_embedding=fields.get("tie_word_embeddings", True),
        init_std=fields.get("initializer_range", 0.02),
    )


def fields_of(config: DecoderConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "n_embd": config.embed_dim,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.mlp_dim,
        "n_positions": config.max_length,
        "layer_norm_epsilon": config.norm_epsilon,
        "activation_function": "gelu_new",
        "tie_word_embeddings": config.tied_embedding,
        "initializer_range": config.init_std,
    }


AT = "h.{}"
GPT2 = Published(
    family=DecoderConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={"language": "GPT2LMHeadModel"},
    names=(
        Name("embedding/table", "wte.weight"),
        Name("position_table/table", "wpe.weight"),
        *pairs("blocks/attention_norm", f"{AT}.ln_1"),
        *dense("blocks/attention", "q", f"{AT}.attn.c_attn", 0),
        *dense("blocks/attention", "k", f"{AT}.attn.c_attn", 1),
        *dense("blocks/attention", "v", f"{AT}.attn.c_attn", 2),
        *dense("blocks/attention", "o", f"{AT}.attn.c_proj"),
        *pairs("blocks/mlp_norm", f"{AT}.ln_2"),
        *dense("blocks/mlp", "up", f"{AT}.mlp.c_fc"),
        *dense("blocks/mlp", "down", f"{AT}.mlp.c_proj"),
        *pairs("final_norm", "ln_f"),
    ),
    heads={"language": (Name("head/table", "lm_head.weight"),)},
    prefix="transformer.",
    inputs_first=True,
    unused=(r"(transformer\.)?h\.\d+\.attn\.(masked_)?bias",),
    neutral=(
        *(
            "attn_pdrop",
            "embd_pdrop",
            "resid_pdrop",
            "n_ctx",
            "predict_special_tokens",
            "reorder_and_upcast_attn",
        ),
        *("summary_activation", "summary_first_dropout", "summary_proj_to_labels"),
        *("summary_type", "summary_use_proj"),
    ),
)
