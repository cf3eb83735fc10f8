"""BERT and what has its architecture, as sentence encoders do."""

from collections.abc import Mapping
from typing import Any

from model.families.encoder_config import EncoderConfig
from model.published.fields import Fields
from model.published.names import Name, Published, dense, pairs

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}


def config_of(fields: Fields, first_position: int = 0) -> EncoderConfig:
    D, N = fields.size("hidden_size"), fields.size("num_attention_heads")
    fields.require("position_embedding_type", "absolute")
    fields.require("is_decoder", False)
    fields.require("tie_word_embeddings", True)
    activation: Any = fields.choose("hidden_act", {**ACTIVATIONS, "relu": "relu"}, "gelu")
    return EncoderConfig(
        vocab_size=fields.size("vocab_size"),
        num_layers=fields.size("num_hidden_layers"),
        embed_dim=D,
        num_heads=N,
        head_dim=D // N,
        mlp_dim=fields.size("intermediate_size"),
        max_length=fields.size("max_position_embeddings") - first_position,
        norm_epsilon=fields.get("layer_norm_eps", 1e-12),
        activation=activation,
        token_types=fields.size("type_vocab_size", 2),
        first_position=first_position,
        dropout=fields.get("hidden_dropout_prob", 0.1),
        init_std=fields.get("initializer_range", 0.02),
    )


def fields_of(config: EncoderConfig, first_position: int = 0) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_dim,
        "max_position_embeddings": config.max_length + config.first_position,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": theirs(config.activation),
        "type_vocab_size": config.token_types,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": config.init_std,
    }


def theirs(activation: str) -> str:
    """What an activation is called there."""
    names = {ours: name for name, ours in reversed(ACTIVATIONS.items())}
    return names.get(activation, activation)


AT = "encoder.layer.{}"
NAMES = (
    Name("embedding/table", "embeddings.word_embeddings.weight"),
    Name("position_table/table", "embeddings.position_embeddings.weight"),
    Name("type_table/table", "embeddings.token_type_embeddings.weight"),
    *pairs("embedding_norm", "embeddings.LayerNorm"),
    *dense("blocks/attention", "q", f"{AT}.attention.self.query"),
    *dense("blocks/attention", "k", f"{AT}.attention.self.key"),
    *dense("blocks/attention", "v", f"{AT}.attention.self.value"),
    *dense("blocks/attention", "o", f"{AT}.attention.output.dense"),
    *pairs("blocks/attention_norm", f"{AT}.attention.output.LayerNorm"),
    *dense("blocks/mlp", "up", f"{AT}.intermediate.dense"),
    *dense("blocks/mlp", "down", f"{AT}.output.dense"),
    *pairs("blocks/mlp_norm", f"{AT}.output.LayerNorm"),
)


def table_head(name: str) -> tuple[Name, ...]:
    """A head of its own table and bias."""
    table, bias = (
        Name("task_head/table", f"{name}.weight"),
        Name("task_head/bias", f"{name}.bias"),
    )
    return (table, bias)


def transform(name: str) -> tuple[Name, ...]:
    """The dense layer before a head's table."""
    return (Name("task_head/w", f"{name}.weight"), Name("task_head/b", f"{name}.bias"))


HEADS: Mapping[str, tuple[Name, ...]] = {
    "language": (
        *transform("cls.predictions.transform.dense"),
        *pairs("task_head/norm", "cls.predictions.transform.LayerNorm"),
        Name("task_head/bias", "cls.predictions.bias"),
    ),
    "labels": (*transform("bert.pooler.dense"), *table_head("classifier")),
    "tags": table_head("classifier"),
    "span": table_head("qa_outputs"),
}
BERT = Published(
    family=EncoderConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={
        "language": "BertForMaskedLM",
        "labels": "BertForSequenceClassification",
        "tags": "BertForTokenClassification",
        "span": "BertForQuestionAnswering",
        "embedding": "BertModel",
    },
    names=NAMES,
    heads=HEADS,
    prefix="bert.",
    transforms={"labels": "tanh"},
    renamed={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
    unused=(
        r"(bert\.)?embeddings\.position_ids",
        r"cls\.predictions\.decoder\.(weight|bias)",
        r"cls\.seq_relationship\.(weight|bias)",
    ),
    neutral=(
        *("attention_probs_dropout_prob", "classifier_dropout", "directionality", "_num_labels"),
        *("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"),
        *("pooler_size_per_head", "pooler_type"),
    ),
)
