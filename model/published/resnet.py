"""ResNet, whose BatchNorms are a scale and a bias each here, which are not trained."""

from collections.abc import Iterator
from typing import Any

from model.families.convnet_config import ConvnetConfig
from model.head_config import HeadConfig
from model.published.fields import Fields
from model.published.names import Name, pairs
from model.published.stages import StagesPublished, scored, stages

EXPANSIONS = {"basic": 1, "bottleneck": 4}
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "silu": "silu"}
EPSILON = 1e-5
"""Of PyTorch's BatchNorm."""


def config_of(fields: Fields) -> ConvnetConfig:
    channels, depths = stages(fields, [256, 512, 1024, 2048], [3, 4, 6, 3])
    block: Any = fields.require("layer_type", "bottleneck", "basic")
    fields.require("downsample_in_bottleneck", False)
    activation: Any = fields.choose("hidden_act", ACTIVATIONS, "relu")
    first = 2 if fields.get("downsample_in_first_stage", False) else 1
    return ConvnetConfig(
        input_channels=fields.size("num_channels", 3),
        stem="pooled",
        stem_channels=fields.size("embedding_size", 64),
        block=block,
        depths=depths,
        channels=channels,
        strides=(first, *(2,) * (len(depths) - 1)),
        kernels=(3,) * len(depths),
        expansions=(EXPANSIONS[block],) * len(depths),
        norm="affine",
        activation=activation,
        head=HeadConfig(kind="labels", outputs=2, pooling="mean"),
    )


def fields_of(config: ConvnetConfig) -> dict[str, Any]:
    return {
        "num_channels": config.input_channels,
        "embedding_size": config.stem_channels,
        "hidden_sizes": list(config.channels),
        "depths": list(config.depths),
        "layer_type": "basic" if config.block == "basic" else "bottleneck",
        "hidden_act": config.activation,
        "downsample_in_first_stage": config.strides[0] == 2,
        "downsample_in_bottleneck": False,
    }


def normed(ours: str, theirs: str) -> Iterator[Name]:
    """A convolution and its norm."""
    yield Name(f"{ours}/convolution/w", f"{theirs}.convolution.weight")
    yield from pairs(f"{ours}/norm", f"{theirs}.normalization")


def block_names(config: ConvnetConfig) -> Iterator[Name]:
    """Names of the weights of all blocks."""
    convolutions = {"basic": 2, "bottleneck": 3}.get(config.block, 0)
    for s, stage in enumerate(config.stages):
        for b in range(stage.depth):
            own, at = f"stages/{s}/blocks/{b}", f"encoder.stages.{s}.layers.{b}"
            yield from normed(f"{own}/shortcut", f"{at}.shortcut")
            for n in range(convolutions):
                yield from normed(f"{own}/branch/{n}", f"{at}.layer.{n}")


RESNET = StagesPublished(
    family=ConvnetConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={"labels": "ResNetForImageClassification"},
    names=tuple(normed("stem/only", "embedder.embedder")),
    heads={"labels": scored("classifier.1")},
    block_names=block_names,
    prefix="resnet.",
    poolings=("mean",),
    batch_norm=EPSILON,
    neutral=("initializer_range", "stage_names", "out_features", "out_indices", "image_size"),
)
