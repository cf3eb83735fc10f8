"""ViT."""

from typing import Any

from data.errors import UserError
from model.families.vision_config import VisionConfig
from model.published import bert
from model.published.fields import Fields
from model.published.names import Name, Published, after_one, dense, pairs


def config_of(fields: Fields) -> VisionConfig:
    activation: Any = fields.choose("hidden_act", {**bert.ACTIVATIONS, "relu": "relu"}, "gelu")
    return VisionConfig(
        **sizes_of(fields, patch=16, epsilon=1e-12),
        mlp_dim=fields.size("intermediate_size"),
        activation=activation,
    )


def sizes_of(fields: Fields, *, patch: int, epsilon: float) -> dict[str, Any]:
    """What ViT and DINOv2 say alike, with their defaults."""
    D, N = fields.size("hidden_size"), fields.size("num_attention_heads")
    fields.require("qkv_bias", True)
    height, width = pair(fields, "image_size", 224)
    side, other = pair(fields, "patch_size", patch)
    if side != other:
        raise UserError(
            f"{fields.path}: patch_size must be one number, because patches are squares here, but "
            f"it is {[side, other]}; try another checkpoint"
        )
    return {
        "num_layers": fields.size("num_hidden_layers"),
        "embed_dim": D,
        "num_heads": N,
        "head_dim": D // N,
        "image_size": (height, width),
        "patch_size": side,
        "channels": fields.size("num_channels", 3),
        "norm_epsilon": fields.get("layer_norm_eps", epsilon),
        "dropout": float(fields.get("hidden_dropout_prob", 0.0)),
        "init_std": fields.get("initializer_range", 0.02),
    }


def pair(fields: Fields, name: str, default: int) -> tuple[int, int]:
    """A height and a width, which may be one number."""
    value = fields.get(name, default)
    sides = value if isinstance(value, list) else [value, value]
    whole = [side for side in sides if isinstance(side, int) and not isinstance(side, bool)]
    if len(whole) != 2 or len(sides) != 2 or min(whole) < 1:
        raise UserError(
            f"{fields.path}: {name} must be a whole number or two, because it is a height and a "
            f"width, but it is {value!r}; try the config.json that came with the weights"
        )
    return whole[0], whole[1]


def fields_of(config: VisionConfig) -> dict[str, Any]:
    return {
        **shared(config),
        "intermediate_size": config.mlp_dim,
        "hidden_act": bert.theirs(config.activation),
        "encoder_stride": config.patch_size,
    }


def shared(config: VisionConfig) -> dict[str, Any]:
    """What `sizes_of` reads."""
    height, width = config.image_size
    return {
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "image_size": height if height == width else [height, width],
        "patch_size": config.patch_size,
        "num_channels": config.channels,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": config.init_std,
        "qkv_bias": True,
    }


AT = "encoder.layer.{}"
EMBEDDED = (
    Name("class_token", "embeddings.cls_token", shape=after_one),
    Name("position_table/table", "embeddings.position_embeddings", shape=after_one),
    Name("patches/w", "embeddings.patch_embeddings.projection.weight"),
    Name("patches/b", "embeddings.patch_embeddings.projection.bias"),
    *dense("blocks/attention", "q", f"{AT}.attention.attention.query"),
    *dense("blocks/attention", "k", f"{AT}.attention.attention.key"),
    *dense("blocks/attention", "v", f"{AT}.attention.attention.value"),
    *dense("blocks/attention", "o", f"{AT}.attention.output.dense"),
    *pairs("final_norm", "layernorm"),
)
"""Of what ViT and DINOv2 name alike."""
VIT = Published(
    family=VisionConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={"embedding": "ViTModel", "labels": "ViTForImageClassification"},
    names=(
        *EMBEDDED,
        *pairs("blocks/attention_norm", f"{AT}.layernorm_before"),
        *dense("blocks/mlp", "up", f"{AT}.intermediate.dense"),
        *dense("blocks/mlp", "down", f"{AT}.output.dense"),
        *pairs("blocks/mlp_norm", f"{AT}.layernorm_after"),
    ),
    # The pooler was there to be pre-trained with; classifiers leave it out.
    heads={"labels": bert.table_head("classifier"), "pooler": bert.transform("pooler.dense")},
    prefix="vit.",
    neutral=(
        *("attention_probs_dropout_prob", "encoder_stride", "pooler_act", "pooler_output_size"),
    ),
)
