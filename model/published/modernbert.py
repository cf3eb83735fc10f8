"""ModernBERT."""

from typing import Any

from model.families.encoder_config import EncoderConfig
from model.families.rope_scaling import RopeScaling
from model.published import bert
from model.published.fields import Fields
from model.published.layer_types import NEAR, WIDE
from model.published.names import Name, Published
from model.published.rope import parameters_of, theta_of


def config_of(fields: Fields) -> EncoderConfig:
    D, N = fields.size("hidden_size"), fields.size("num_attention_heads")
    activation: Any = fields.choose("hidden_activation", bert.ACTIVATIONS, "gelu")
    # The head's own, which is one with that of the layers here.
    fields.require("classifier_activation", fields.get("hidden_activation", "gelu"))
    for name in ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"):
        fields.require(name, False)
    fields.require("decoder_bias", True)
    fields.require("tie_word_embeddings", True)
    theta = theta_of(fields, 160_000.0, layers=WIDE, base="global_rope_theta")
    local = theta_of(fields, 10_000.0, layers=NEAR, base="local_rope_theta")
    every = fields.size("global_attn_every_n_layers", 3)
    pattern = [kind_of(layer, every) for layer in range(fields.size("num_hidden_layers"))]
    fields.require("layer_types", pattern)
    return EncoderConfig(
        vocab_size=fields.size("vocab_size"),
        num_layers=fields.size("num_hidden_layers"),
        embed_dim=D,
        num_heads=N,
        head_dim=D // N,
        mlp_dim=fields.size("intermediate_size"),
        max_length=fields.size("max_position_embeddings"),
        norm_epsilon=fields.get("norm_eps", 1e-5),
        norm_place="before",
        first_norm=False,
        positions="rotary",
        rope_theta=theta,
        local_rope_theta=local,
        window=None if every == 1 else fields.size("local_attention", 128) // 2 + 1,
        global_every=EncoderConfig.global_every if every == 1 else every,
        activation=activation,
        gated=True,
        bias=False,
        token_types=0,
        dropout=fields.get("mlp_dropout", 0.0),
        init_std=fields.get("initializer_range", 0.02),
    )


def kind_of(layer: int, every: int) -> str:
    """What `transformers` calls the attention of a layer."""
    return WIDE if layer % every == 0 else NEAR


def fields_of(config: EncoderConfig) -> dict[str, Any]:
    theta, local = config.rope_theta, config.local_rope_theta
    kinds = {WIDE: theta, NEAR: local}
    # Without a window all layers see everything.
    every = 1 if config.window is None else config.global_every
    return {
        "vocab_size": config.vocab_size,
        # Else `transformers` takes that of the released tokenizer.
        "pad_token_id": None,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_dim,
        "max_position_embeddings": config.max_length,
        "norm_eps": config.norm_epsilon,
        "hidden_activation": bert.theirs(config.activation),
        "classifier_activation": bert.theirs(config.activation),
        "classifier_pooling": "mean" if config.head.pooling == "mean" else "cls",
        "local_attention": 2 * ((config.window or 65) - 1),
        "global_attn_every_n_layers": every,
        "layer_types": [kind_of(layer, every) for layer in range(config.num_layers)],
        "global_rope_theta": theta,
        "local_rope_theta": local,
        "rope_parameters": {
            kind: parameters_of(base, RopeScaling()) for kind, base in kinds.items()
        },
        "embedding_dropout": config.dropout,
        "mlp_dropout": config.dropout,
        "attention_dropout": 0.0,
        "initializer_range": config.init_std,
    }


AT = "layers.{}"
HEAD = (Name("task_head/w", "head.dense.weight"), Name("task_head/norm/scale", "head.norm.weight"))
MODERNBERT = Published(
    family=EncoderConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={
        "language": "ModernBertForMaskedLM",
        "labels": "ModernBertForSequenceClassification",
        "tags": "ModernBertForTokenClassification",
    },
    names=(
        Name("embedding/table", "embeddings.tok_embeddings.weight"),
        Name("embedding_norm/scale", "embeddings.norm.weight"),
        Name("blocks/attention_norm/scale", f"{AT}.attn_norm.weight"),
        Name("blocks/attention/w_q", f"{AT}.attn.Wqkv.weight", 0),
        Name("blocks/attention/w_k", f"{AT}.attn.Wqkv.weight", 1),
        Name("blocks/attention/w_v", f"{AT}.attn.Wqkv.weight", 2),
        Name("blocks/attention/w_o", f"{AT}.attn.Wo.weight"),
        Name("blocks/mlp_norm/scale", f"{AT}.mlp_norm.weight"),
        Name("blocks/mlp/w_gate", f"{AT}.mlp.Wi.weight", 0),
        Name("blocks/mlp/w_up", f"{AT}.mlp.Wi.weight", 1),
        Name("blocks/mlp/w_down", f"{AT}.mlp.Wo.weight"),
        Name("final_norm/scale", "final_norm.weight"),
    ),
    heads={
        "language": (*HEAD, Name("task_head/bias", "decoder.bias")),
        "labels": (*HEAD, *bert.table_head("classifier")),
        "tags": (*HEAD, *bert.table_head("classifier")),
    },
    prefix="model.",
    transforms={"labels": "norm", "tags": "norm"},
    poolings=("first", "mean"),
    unused=(r"decoder\.weight",),
    neutral=(
        *("attention_dropout", "embedding_dropout", "classifier_dropout"),
        *(
            "cls_token_id",
            "classifier_pooling",
            "deterministic_flash_attn",
            "initializer_cutoff_factor",
        ),
        *("layer_norm_eps", "position_embedding_type", "reference_compile"),
        *("repad_logits_with_grad", "sparse_pred_ignore_index", "sparse_prediction"),
    ),
)
