"""ModernBERT."""

from typing import Any

from data.errors import UserError
from model.families.encoder_config import EncoderConfig
from model.published import bert
from model.published.fields import Fields
from model.published.names import Name, Published, require_as


def config_of(fields: Fields) -> EncoderConfig:
    D, N = fields.size("hidden_size"), fields.size("num_attention_heads")
    activation: Any = fields.choose("hidden_activation", bert.ACTIVATIONS, "gelu")
    # The head's own, which is one with that of the layers here.
    fields.require("classifier_activation", fields.get("hidden_activation", "gelu"))
    for name in ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"):
        fields.require(name, False)
    fields.require("decoder_bias", True)
    fields.require("tie_word_embeddings", True)
    theta, local = rope(fields)
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
        window=fields.size("local_attention", 128) // 2 + 1,
        global_every=every,
        activation=activation,
        gated=True,
        bias=False,
        token_types=0,
        dropout=fields.get("mlp_dropout", 0.0),
        init_std=fields.get("initializer_range", 0.02),
    )


def rope(fields: Fields) -> tuple[float, float]:
    """The bases of the wavelengths in layers that see all and in local ones."""
    parameters = fields.get("rope_parameters", {})
    if strange := [p for p in parameters.values() if p and p.get("rope_type") != "default"]:
        raise UserError(
            f"{fields.path}: rope_type={strange[0].get('rope_type')!r} must be 'default', because "
            "the model turns its queries by it; try another checkpoint"
        )
    theta, local = fields.get("global_rope_theta", 160_000.0), fields.get("local_rope_theta", 1e4)
    wide, near = (parameters.get(kind) or {} for kind in (WIDE, NEAR))
    return float(wide.get("rope_theta", theta)), float(near.get("rope_theta", local))


def kind_of(layer: int, every: int) -> str:
    """What `transformers` calls the attention of a layer."""
    return WIDE if layer % every == 0 else NEAR


def fields_of(config: EncoderConfig) -> dict[str, Any]:
    require_as(config, "modernbert", norm="layernorm", norm_place="before", first_norm=False)
    require_as(config, "modernbert", positions="rotary", bias=False, gated=True, token_types=0)
    theta, local = config.rope_theta, config.local_rope_theta
    theirs = {ours: name for name, ours in reversed(bert.ACTIVATIONS.items())}
    require_as(config, "modernbert", head_dim=config.embed_dim // config.num_heads)
    kinds = {WIDE: theta, NEAR: local}
    # Without a window all layers see everything.
    every = 1 if config.window is None else config.global_every
    return {
        "vocab_size": config.vocab_size,
        "pad_token_id": PAD if config.vocab_size > PAD else 0,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_dim,
        "max_position_embeddings": config.max_length,
        "norm_eps": config.norm_epsilon,
        "hidden_activation": theirs[config.activation],
        "classifier_activation": theirs[config.activation],
        "classifier_pooling": "mean" if config.head.pooling == "mean" else "cls",
        "local_attention": 2 * ((config.window or 65) - 1),
        "global_attn_every_n_layers": every,
        "layer_types": [kind_of(layer, every) for layer in range(config.num_layers)],
        "global_rope_theta": theta,
        "local_rope_theta": local,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": base} for kind, base in kinds.items()
        },
        "embedding_dropout": config.dropout,
        "mlp_dropout": config.dropout,
        "attention_dropout": 0.0,
        "initializer_range": config.init_std,
    }


PAD = 50_283
"""The padding of the released tokenizer, which `transformers` takes if none is named."""
WIDE, NEAR = "full_attention", "sliding_attention"
AT = "layers.{}"
HEAD = (Name("task_head/w", "head.dense.weight"), Name("task_head/norm/scale", "head.norm.weight"))
MODERNBERT = Published(
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
        Name("blocks/attention/w_q", f"{AT}.attn.Wqkv.weight", 0, 3),
        Name("blocks/attention/w_k", f"{AT}.attn.Wqkv.weight", 1, 3),
        Name("blocks/attention/w_v", f"{AT}.attn.Wqkv.weight", 2, 3),
        Name("blocks/attention/w_o", f"{AT}.attn.Wo.weight"),
        Name("blocks/mlp_norm/scale", f"{AT}.mlp_norm.weight"),
        Name("blocks/mlp/w_gate", f"{AT}.mlp.Wi.weight", 0, 2),
        Name("blocks/mlp/w_up", f"{AT}.mlp.Wi.weight", 1, 2),
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
