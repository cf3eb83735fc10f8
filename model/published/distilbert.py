"""DistilBERT: BERT without types of tokens, its pooler a dense layer with ReLU."""

from typing import Any

from model.families.encoder_config import EncoderConfig
from model.published import bert
from model.published.fields import Fields
from model.published.names import Name, Published, dense, pairs

EPSILON = 1e-12
"""Of its norms, which config.json does not say."""


def config_of(fields: Fields) -> EncoderConfig:
    D, N = fields.size("dim"), fields.size("n_heads")
    fields.require("sinusoidal_pos_embds", False, True)
    fields.require("tie_weights_", True)
    fields.require("tie_word_embeddings", True)
    activation: Any = fields.choose("activation", {**bert.ACTIVATIONS, "relu": "relu"}, "gelu")
    return EncoderConfig(
        vocab_size=fields.size("vocab_size"),
        num_layers=fields.size("n_layers"),
        embed_dim=D,
        num_heads=N,
        head_dim=D // N,
        mlp_dim=fields.size("hidden_dim"),
        max_length=fields.size("max_position_embeddings"),
        norm_epsilon=EPSILON,
        activation=activation,
        token_types=0,
        dropout=fields.get("dropout", 0.1),
        init_std=fields.get("initializer_range", 0.02),
    )


def fields_of(config: EncoderConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "dim": config.embed_dim,
        "n_layers": config.num_layers,
        "n_heads": config.num_heads,
        "hidden_dim": config.mlp_dim,
        "max_position_embeddings": config.max_length,
        "sinusoidal_pos_embds": False,
        "activation": bert.theirs(config.activation),
        "dropout": config.dropout,
        "attention_dropout": 0.0,
        "initializer_range": config.init_std,
    }


AT = "transformer.layer.{}"
DISTILBERT = Published(
    family=EncoderConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={
        "language": "DistilBertForMaskedLM",
        "labels": "DistilBertForSequenceClassification",
        "tags": "DistilBertForTokenClassification",
        "span": "DistilBertForQuestionAnswering",
        "embedding": "DistilBertModel",
    },
    names=(
        Name("embedding/table", "embeddings.word_embeddings.weight"),
        Name("position_table/table", "embeddings.position_embeddings.weight"),
        *pairs("embedding_norm", "embeddings.LayerNorm"),
        *dense("blocks/attention", "q", f"{AT}.attention.q_lin"),
        *dense("blocks/attention", "k", f"{AT}.attention.k_lin"),
        *dense("blocks/attention", "v", f"{AT}.attention.v_lin"),
        *dense("blocks/attention", "o", f"{AT}.attention.out_lin"),
        *pairs("blocks/attention_norm", f"{AT}.sa_layer_norm"),
        *dense("blocks/mlp", "up", f"{AT}.ffn.lin1"),
        *dense("blocks/mlp", "down", f"{AT}.ffn.lin2"),
        *pairs("blocks/mlp_norm", f"{AT}.output_layer_norm"),
    ),
    heads={
        "language": (
            *bert.transform("vocab_transform"),
            *pairs("task_head/norm", "vocab_layer_norm"),
            Name("task_head/bias", "vocab_projector.bias"),
        ),
        "labels": (*bert.transform("pre_classifier"), *bert.table_head("classifier")),
        "tags": bert.table_head("classifier"),
        "span": bert.table_head("qa_outputs"),
    },
    prefix="distilbert.",
    transforms={"labels": "relu"},
    unused=(r"(distilbert\.)?embeddings\.position_ids", r"vocab_projector\.weight"),
    neutral=("attention_dropout", "qa_dropout", "seq_classif_dropout"),
)
