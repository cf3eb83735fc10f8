"""Presets of convolutional networks."""

from typing import Any

from data.arrays_config import ImagesConfig, SeriesConfig
from launch.config import RunConfig
from launch.presets import imagenet
from model.families.convnet_config import ConvnetConfig
from model.head_config import HeadConfig
from train.config import CheckpointConfig, OptimizerConfig, TrainConfig


def labels(count: int, **changes: Any) -> HeadConfig:
    """The head of a network that names what an image shows."""
    return HeadConfig(kind="labels", outputs=count, pooling="mean", **changes)


def tiny_convnet(name: str) -> RunConfig:
    """A ResNet of 0.3 M parameters with GroupNorm over grey images of 28 x 28, such as digits.

    Command: `meshloom train tiny-convnet --data.sources images:digits`. Hardware: any CPU. Expect
    minutes on 2 cores.
    Source: blocks of He et al. 2016, sizes of our own.
    """
    return RunConfig(
        preset=name,
        model=ConvnetConfig(
            input_channels=1,
            stem="convolution",
            stem_channels=32,
            stem_kernel=5,
            depths=(1, 1, 1),
            channels=(32, 64, 128),
            strides=(1, 2, 2),
            kernels=(3, 3, 3),
            expansions=(1, 1, 1),
            groups=8,
            dropout=0.1,
            head=labels(10),
        ),
        data=ImagesConfig(
            sources=("images:digits",),
            image_size=(28, 28),
            channels=1,
            mean=(0.5,),
            std=(0.5,),
            crop="padded",
            padding=2,
        ),
        train=_tiny_train(steps=2500, batch_size=64),
    )


def tiny_photos(name: str) -> RunConfig:
    """A ResNet of 0.3 M parameters with GroupNorm over colour images of 64 x 64.

    Command: `meshloom train tiny-photos --data.sources images:photos --model.head.outputs 3`.
    Hardware: any CPU. Expect minutes on 2 cores.
    Source: blocks of He et al. 2016, sizes of our own.
    """
    return RunConfig(
        preset=name,
        model=ConvnetConfig(
            stem="pooled",
            stem_channels=32,
            stem_kernel=5,
            depths=(1, 1, 1),
            channels=(32, 64, 128),
            strides=(1, 2, 2),
            kernels=(3, 3, 3),
            expansions=(1, 1, 1),
            groups=8,
            dropout=0.1,
            head=labels(3),
        ),
        data=ImagesConfig(
            sources=("images:photos",),
            image_size=(64, 64),
            crop="resized",
            smallest_crop=0.4,
            flip=True,
        ),
        train=_tiny_train(steps=1500, batch_size=32),
    )


def tiny_series(name: str) -> RunConfig:
    """A fully convolutional network of 0.3 M parameters over series, with GroupNorm in place of
    BatchNorm.

    Command: `meshloom train tiny-series --data.sources ts:train.ts --data.held-out-sources
    ts:test.ts --data.series-length 251 --model.head.outputs 3`. Hardware: any CPU. Expect minutes
    on 2 cores; Fawaz et al. 2019 report 84.3 % on ArrowHead and 97.7 % on OSULeaf with BatchNorm.
    Source: Wang et al. 2017, section 2.
    """
    return RunConfig(
        preset=name,
        model=ConvnetConfig(
            dimensions=1,
            input_channels=1,
            block="plain",
            depths=(1, 1, 1),
            channels=(128, 256, 128),
            strides=(1, 1, 1),
            kernels=(8, 5, 3),
            expansions=(1, 1, 1),
            groups=16,
            head=labels(3),
        ),
        data=SeriesConfig(sources=("ts:train.ts",), series_length=251),
        train=_tiny_train(steps=1000, batch_size=16),
    )


def _tiny_train(steps: int, batch_size: int) -> TrainConfig:
    return TrainConfig(
        steps=steps,
        batch_size=batch_size,
        eval_every=steps // 5,
        eval_batches=1000,
        label_smoothing=0.1,
        optimizer=OptimizerConfig(
            learning_rate=2e-3,
            warmup_steps=100,
            beta2=0.99,
            final_fraction=0.01,
            weight_decay=0.05,
        ),
        checkpoint=CheckpointConfig(every_steps=steps // 5, keep_best=1),
    )


RESNETS = {
    "resnet-18": ("basic", (2, 2, 2, 2), (64, 128, 256, 512), 1),
    "resnet-50": ("bottleneck", (3, 4, 6, 3), (256, 512, 1024, 2048), 4),
}
"""Block, depths and channels of the stages, expansion."""


def resnet(name: str) -> RunConfig:
    """ResNet with GroupNorm: 100 epochs of ImageNet at 224 x 224.

    Command: `meshloom train resnet-50 --data.sources images:imagenet/train
    --data.held-out-sources images:imagenet/val --mesh.fsdp 8`. Hardware: from one accelerator of
    24 GB. Wu & He report an error of about 24 % for resnet-50, half a point above that with
    BatchNorm, with SGD, where this has AdamW, so that no figure is a target.
    Parameters are as many as in the released weights, of BatchNorm.
    Source: He et al. 2016, Table 1; Wu & He 2018, section 4.1.
    """
    block, depths, channels, expansion = RESNETS[name]
    model = ConvnetConfig(
        stem="pooled",
        block=block,  # pyright: ignore[reportArgumentType]
        depths=depths,
        channels=channels,
        expansions=(expansion,) * len(depths),
        head=labels(1000),
    )
    return _imagenet(name, model, epochs=100, batch=1024, rate=1e-3, warmup=5, decay=0.05)


CONVNEXTS = {
    "convnext-t": (9, 96, 0.1),
    "convnext-s": (27, 96, 0.4),
    "convnext-b": (27, 128, 0.5),
}
"""Depth of the third stage, channels of the first, share of images that the last block skips."""


def convnext(name: str) -> RunConfig:
    """ConvNeXt: 300 epochs of ImageNet at 224 x 224.

    Command: `meshloom train convnext-t --data.sources images:imagenet/train
    --data.held-out-sources images:imagenet/val --mesh.fsdp 16`. Hardware: from 8 accelerators of 32
    GB. The authors report a top-1 of 82.1 % for t, 83.1 % for s and 83.8 % for b, also with
    CutMix, RandAugment and random erasing, which are not here.
    Source: Liu et al. 2022, Tables 5 and 9.
    """
    depth, width, drop_path = CONVNEXTS[name]
    model = ConvnetConfig(
        stem="patches",
        stem_channels=width,
        stem_stride=4,
        block="convnext",
        depths=(3, 3, depth, 3),
        channels=(width, 2 * width, 4 * width, 8 * width),
        kernels=(7, 7, 7, 7),
        expansions=(4, 4, 4, 4),
        norm="layer",
        norm_epsilon=1e-6,
        activation="gelu",
        layer_scale=1e-6,
        drop_path=drop_path,
        head=labels(1000, transform="normed"),
    )
    more = {"mixup": 0.8, "ema": 0.9999}
    return _imagenet(name, model, epochs=300, batch=4096, rate=4e-3, warmup=20, decay=0.05, **more)


def _imagenet(
    name: str,
    model: ConvnetConfig,
    *,
    epochs: int,
    batch: int,
    rate: float,
    warmup: int,
    decay: float,
    mixup: float = 0.0,
    ema: float | None = None,
) -> RunConfig:
    """A run of so many epochs of ImageNet."""
    epoch = imagenet.IMAGES / batch
    return RunConfig(
        preset=name,
        model=model,
        data=ImagesConfig(
            sources=("images:imagenet/train",),
            held_out_sources=("images:imagenet/val",),
            mean=imagenet.MEAN,
            std=imagenet.STD,
            centre=0.875,
            crop="resized",
            flip=True,
            mixup=mixup,
        ),
        train=TrainConfig(
            steps=round(epochs * epoch),
            batch_size=batch,
            eval_every=round(5 * epoch),
            eval_batches=1000,
            label_smoothing=0.1,
            optimizer=OptimizerConfig(
                learning_rate=rate,
                warmup_steps=round(warmup * epoch),
                beta2=0.999,
                final_fraction=0.001,
                weight_decay=decay,
                ema_decay=ema,
            ),
        ),
    )


CONVNETS = {
    "tiny-convnet": tiny_convnet,
    "tiny-photos": tiny_photos,
    "tiny-series": tiny_series,
    **dict.fromkeys(RESNETS, resnet),
    **dict.fromkeys(CONVNEXTS, convnext),
}
