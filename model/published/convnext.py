"""ConvNeXt."""

from collections.abc import Iterator
from typing import Any

from model.families.convnet_config import ConvnetConfig
from model.head_config import HeadConfig
from model.published.fields import Fields
from model.published.names import Name, pairs
from model.published.stages import StagesPublished, both, scored, stages

KERNEL, EXPANSION = 7, 4
INNER_EPSILON = 1e-6
"""Of all norms but the last, whatever config.json says."""
ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "silu": "silu"}
SIZES, DEPTHS = [96, 192, 384, 768], [3, 3, 9, 3]


def config_of(fields: Fields) -> ConvnetConfig:
    channels, depths = stages(fields, SIZES, DEPTHS)
    fields.require("num_stages", len(depths))
    activation: Any = fields.choose("hidden_act", ACTIVATIONS, "gelu")
    return ConvnetConfig(
        input_channels=fields.size("num_channels", 3),
        stem="patches",
        stem_channels=channels[0],
        stem_stride=fields.size("patch_size", 4),
        block="convnext",
        depths=depths,
        channels=channels,
        strides=(1, *(2,) * (len(depths) - 1)),
        kernels=(KERNEL,) * len(depths),
        expansions=(EXPANSION,) * len(depths),
        norm="layer",
        norm_epsilon=INNER_EPSILON,
        head_epsilon=fields.get("layer_norm_eps", 1e-12),
        activation=activation,
        layer_scale=max(0.0, fields.get("layer_scale_init_value", 1e-6)),
        drop_path=fields.get("drop_path_rate", 0.0),
        head=HeadConfig(kind="labels", outputs=2, pooling="mean", transform="normed"),
    )


def fields_of(config: ConvnetConfig) -> dict[str, Any]:
    return {
        "num_channels": config.input_channels,
        "patch_size": config.stem_stride,
        "num_stages": len(config.depths),
        "hidden_sizes": list(config.channels),
        "depths": list(config.depths),
        "hidden_act": config.activation,
        "layer_norm_eps": config.head_epsilon,
        "layer_scale_init_value": config.layer_scale,
        "drop_path_rate": config.drop_path,
    }


def block_names(config: ConvnetConfig) -> Iterator[Name]:
    """Names of the weights of all blocks."""
    for s, stage in enumerate(config.stages):
        if s:
            yield from pairs(
                f"stages/{s}/blocks/0/entry_norm", f"encoder.stages.{s}.downsampling_layer.0"
            )
            yield from both(
                f"stages/{s}/blocks/0/entry/", f"encoder.stages.{s}.downsampling_layer.1"
            )
        for b in range(stage.depth):
            own, at = f"stages/{s}/blocks/{b}", f"encoder.stages.{s}.layers.{b}"
            yield from both(f"{own}/depthwise/", f"{at}.dwconv")
            yield from pairs(f"{own}/norm", f"{at}.layernorm")
            yield from both(f"{own}/mlp/", f"{at}.pwconv1", "_up")
            yield from both(f"{own}/mlp/", f"{at}.pwconv2", "_down")
            yield Name(f"{own}/scale", f"{at}.layer_scale_parameter")


CONVNEXT = StagesPublished(
    family=ConvnetConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={"labels": "ConvNextForImageClassification"},
    names=(
        *both("stem/convolution/", "embeddings.patch_embeddings"),
        *pairs("stem/norm", "embeddings.layernorm"),
    ),
    heads={"labels": (*pairs("task_head/norm", "convnext.layernorm"), *scored("classifier"))},
    block_names=block_names,
    prefix="convnext.",
    transforms={"labels": "normed"},
    poolings=("mean",),
    neutral=("image_size", "initializer_range", "stage_names", "out_features", "out_indices"),
)
