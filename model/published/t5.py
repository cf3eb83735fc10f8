"""T5 1.0 and 1.1."""

from collections.abc import Mapping
from typing import Any

from model.families.encoder_decoder_config import EncoderDecoderConfig
from model.published.fields import Fields
from model.published.names import Name, Published

FEED_FORWARD = {
    "relu": ("relu", False),
    "gated-gelu": ("gelu_tanh", True),
    "gelu": ("gelu", False),
    "gelu_new": ("gelu_tanh", False),
    "silu": ("silu", False),
    "gated-relu": ("relu", True),
    "gated-silu": ("silu", True),
    "gated-gelu_new": ("gelu_tanh", True),
}
"""Activation, and whether it is gated, by `feed_forward_proj`; there too `gated-gelu` is the one by
tanh."""
LENGTH = 512
"""Tokens on each side in T5's training, which config.json may leave out."""


def config_of(fields: Fields) -> EncoderDecoderConfig:
    L, feed_forward = fields.size("num_layers"), fields.require("feed_forward_proj", *FEED_FORWARD)
    activation: Any = FEED_FORWARD[feed_forward][0]
    # `transformers` 5 says with it what the tie said before: version 1.1 has neither.
    tied = fields.get("scale_decoder_outputs", fields.get("tie_word_embeddings", True))
    own = fields.size("num_decoder_layers", L)
    return EncoderDecoderConfig(
        vocab_size=fields.size("vocab_size"),
        num_layers=L,
        decoder_layers=None if own == L else own,
        embed_dim=fields.size("d_model"),
        num_heads=fields.size("num_heads"),
        head_dim=fields.size("d_kv"),
        mlp_dim=fields.size("d_ff"),
        max_length=fields.size("n_positions", LENGTH),
        norm="rmsnorm",
        norm_epsilon=fields.get("layer_norm_epsilon", 1e-6),
        relative_buckets=fields.size("relative_attention_num_buckets", 32),
        relative_distance=fields.size("relative_attention_max_distance", 128),
        activation=activation,
        gated=FEED_FORWARD[feed_forward][1],
        bias=False,
        scale_scores=False,
        tied_embedding=tied,
        scale_logits=tied,
        dropout=fields.get("dropout_rate", 0.1),
    )


def fields_of(config: EncoderDecoderConfig) -> dict[str, Any]:
    own = (config.activation, config.gated)
    return {
        "vocab_size": config.vocab_size,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.writing_layers,
        "d_model": config.embed_dim,
        "num_heads": config.num_heads,
        "d_kv": config.head_dim,
        "d_ff": config.mlp_dim,
        "n_positions": config.max_length,
        "layer_norm_epsilon": config.norm_epsilon,
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_distance,
        "feed_forward_proj": next((n for n, each in FEED_FORWARD.items() if each == own), "relu"),
        "tie_word_embeddings": config.tied_embedding,
        "dropout_rate": config.dropout,
        "is_encoder_decoder": True,
    }


def attention(ours: str, theirs: str) -> tuple[Name, ...]:
    """The four matrices of a layer's attention."""
    return tuple(Name(f"{ours}/w_{own}", f"{theirs}.{own}.weight") for own in "qkvo")


def stack(side: str, feed_forward: int) -> tuple[Name, ...]:
    """Names of one side, whose layers have feed-forward at that place."""
    at, mlp = f"{side}.block.{{}}.layer", f"{side}.block.{{}}.layer.{feed_forward}"
    return (
        Name(
            f"{side}/relative/table",
            f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        ),
        *attention(f"{side}/blocks/attention", f"{at}.0.SelfAttention"),
        Name(f"{side}/blocks/attention_norm/scale", f"{at}.0.layer_norm.weight"),
        Name(f"{side}/blocks/mlp_norm/scale", f"{mlp}.layer_norm.weight"),
        Name(f"{side}/blocks/mlp/w_gate", f"{mlp}.DenseReluDense.wi_0.weight"),
        Name(f"{side}/blocks/mlp/w_up", f"{mlp}.DenseReluDense.wi_1.weight"),
        Name(f"{side}/blocks/mlp/w_down", f"{mlp}.DenseReluDense.wo.weight"),
        Name(f"{side}/final_norm/scale", f"{side}.final_layer_norm.weight"),
    )


ACROSS = "decoder.block.{}.layer.1"


class T5Published(Published):
    """The first matrix of feed-forward has another name where it is not gated."""

    def names_of(self, config: Any) -> Mapping[str, Name]:
        def plain(name: Name) -> Name:
            return name._replace(theirs=name.theirs.replace(".wi_1.", ".wi."))

        names = super().names_of(config)
        return names if config.gated else {ours: plain(name) for ours, name in names.items()}


T5 = T5Published(
    family=EncoderDecoderConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={"language": "T5ForConditionalGeneration"},
    names=(
        Name("embedding/table", "shared.weight"),
        *stack("encoder", 1),
        *stack("decoder", 2),
        *attention("decoder/blocks/cross_attention", f"{ACROSS}.EncDecAttention"),
        Name("decoder/blocks/cross_norm/scale", f"{ACROSS}.layer_norm.weight"),
    ),
    heads={"language": (Name("head/table", "lm_head.weight"),)},
    unused=(
        r"(encoder|decoder)\.embed_tokens\.weight",
        # Released files have it, and no layer reads it.
        r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
    ),
    neutral=("classifier_dropout", "dense_act_fn", "is_gated_act"),
)
