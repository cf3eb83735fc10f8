"""DINOv2, and DINOv2 with registers."""

from collections.abc import Mapping
from typing import Any

from model.families.vision_config import VisionConfig
from model.published import bert
from model.published.fields import Fields
from model.published.names import Name, Published, after_one, dense, of_itself, pairs
from model.published.vit import AT, EMBEDDED, shared, sizes_of


def config_of(fields: Fields) -> VisionConfig:
    return _config(fields, 14, bool(fields.get("use_mask_token", True)))


def config_with_registers(fields: Fields) -> VisionConfig:
    return _config(
        fields,
        16,
        mask_token=True,
        registers=fields.get("num_register_tokens", 4),
        interpolation="bicubic_antialias",
    )


def _config(fields: Fields, patch: int, mask_token: bool, **more: Any) -> VisionConfig:
    sizes = sizes_of(fields, patch=patch, epsilon=1e-6)
    F = int(sizes["embed_dim"] * fields.get("mlp_ratio", 4))
    activation: Any = fields.choose("hidden_act", {**bert.ACTIVATIONS, "relu": "relu"}, "gelu")
    if gated := bool(fields.get("use_swiglu_ffn", False)):
        F, activation = swiglu_width(F), "silu"
    return VisionConfig(
        **sizes,
        mlp_dim=F,
        gated=gated,
        activation=activation,
        layer_scale=float(fields.get("layerscale_value", 1.0)),
        mask_token=mask_token,
        **more,
    )


def swiglu_width(F: int) -> int:
    """Two thirds of F, rounded up to a multiple of 8."""
    return -(-int(F * 2 / 3) // 8) * 8


def fields_of(config: VisionConfig) -> dict[str, Any]:
    return {**_fields(config), "use_mask_token": config.mask_token}


def fields_with_registers(config: VisionConfig) -> dict[str, Any]:
    return {**_fields(config), "num_register_tokens": config.registers}


def _fields(config: VisionConfig) -> dict[str, Any]:
    D, F = config.embed_dim, config.mlp_dim
    # The smallest ratio with that width; other widths are refused, as they read otherwise.
    wide = range(1, 4 * F // D + 2)
    ratio = next((r for r in wide if swiglu_width(r * D) >= F), 4) if config.gated else F // D
    return {
        **shared(config),
        "mlp_ratio": ratio,
        "hidden_act": "gelu" if config.gated else bert.theirs(config.activation),
        "use_swiglu_ffn": config.gated,
        "layerscale_value": config.layer_scale,
        "drop_path_rate": 0.0,
    }


NAMES = (
    *EMBEDDED,
    Name("mask_token", "embeddings.mask_token", shape=of_itself),
    Name("registers", "embeddings.register_tokens", shape=after_one),
    *pairs("blocks/attention_norm", f"{AT}.norm1"),
    Name("blocks/attention_scale", f"{AT}.layer_scale1.lambda1"),
    *pairs("blocks/mlp_norm", f"{AT}.norm2"),
    Name("blocks/mlp_scale", f"{AT}.layer_scale2.lambda1"),
)
PLAIN = (*dense("blocks/mlp", "up", f"{AT}.mlp.fc1"), *dense("blocks/mlp", "down", f"{AT}.mlp.fc2"))
GATED = (
    *dense("blocks/mlp", "gate", f"{AT}.mlp.weights_in", 0),
    *dense("blocks/mlp", "up", f"{AT}.mlp.weights_in", 1),
    *dense("blocks/mlp", "down", f"{AT}.mlp.weights_out"),
)
NEUTRAL = (
    *("attention_probs_dropout_prob", "apply_layernorm", "reshape_hidden_states"),
    *("drop_path_rate", "out_features", "out_indices", "stage_names"),
)


class Dinov2Published(Published):
    """DINOv2, whose feed-forward layers have other names where they are gated."""

    def names_of(self, config: Any) -> Mapping[str, Name]:
        feed_forward = {name.ours: name for name in (GATED if config.gated else PLAIN)}
        return {**super().names_of(config), **feed_forward}


DINOV2 = Dinov2Published(
    family=VisionConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={"embedding": "Dinov2Model", "labels": "Dinov2ForImageClassification"},
    names=NAMES,
    heads={"labels": bert.table_head("classifier")},
    prefix="dinov2.",
    poolings=("first_and_mean",),
    neutral=NEUTRAL,
)
WITH_REGISTERS = Dinov2Published(
    family=VisionConfig,
    config_of=config_with_registers,
    fields_of=fields_with_registers,
    classes={
        "embedding": "Dinov2WithRegistersModel",
        "labels": "Dinov2WithRegistersForImageClassification",
    },
    names=NAMES,
    heads={"labels": bert.table_head("classifier")},
    prefix="dinov2_with_registers.",
    poolings=("first_and_mean",),
    neutral=NEUTRAL,
)
