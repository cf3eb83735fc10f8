"""Presets of Vision Transformers."""

from typing import Any

from data.arrays_config import ImagesConfig
from launch.config import RunConfig
from launch.presets import imagenet
from model.families.vision_config import VisionConfig
from model.head_config import HeadConfig
from train.config import CheckpointConfig, OptimizerConfig, TrainConfig


def tiny_vit(name: str) -> RunConfig:
    """A Vision Transformer of 0.3 M parameters over patches of 4 x 4 of small grey images.

    Command: `meshloom train tiny-vit --data.sources images:digits`, of a folder with a folder a
    label. Hardware: any CPU. Expect about a quarter of an hour on 2 cores for 9,000 images.
    Source: sizes of our own.
    """
    return RunConfig(
        preset=name,
        model=VisionConfig(
            image_size=(28, 28),
            patch_size=4,
            channels=1,
            num_layers=6,
            embed_dim=64,
            num_heads=4,
            head_dim=16,
            mlp_dim=256,
            dropout=0.1,
            init_std=0.1,
            head=HeadConfig(kind="labels", outputs=10),
        ),
        data=ImagesConfig(
            sources=("images:digits",),
            image_size=(28, 28),
            channels=1,
            crop="padded",
            padding=2,
        ),
        train=TrainConfig(
            steps=2800,
            batch_size=128,
            eval_every=200,
            eval_batches=1000,
            label_smoothing=0.1,
            optimizer=OptimizerConfig(
                learning_rate=1e-3, warmup_steps=200, beta2=0.99, final_fraction=0.01
            ),
            checkpoint=CheckpointConfig(every_steps=200, keep_best=1),
        ),
    )


VIT_SIZES = {
    "vit-s16": (12, 384, 6),
    "vit-b16": (12, 768, 12),
    "vit-l16": (24, 1024, 16),
}
"""L, D, N."""


def vit(name: str) -> RunConfig:
    """ViT on ImageNet-1k at 224 x 224: a class token, learned positions, norms before sublayers.

    Command: `meshloom train vit-s16 --data.sources images:imagenet/train
    --data.held-out-sources images:imagenet/val`. Hardware: s one accelerator of 80 GB, l eight.
    The recipe of s is that of big_vision, which reaches 76.5 % after 90 epochs with RandAugment,
    the mean of the patches and fixed positions; of b and l that of Dosovitskiy et al., who reach
    about 78 % and 77 % after 300 epochs and fine-tuning at 384 x 384.
    Source: Dosovitskiy et al. 2020, Tables 1, 3 and 5; Beyer et al. 2022.
    """
    small = name == "vit-s16"
    rows, epochs = (1024, 90) if small else (4096, 300)
    return RunConfig(
        preset=name,
        model=VisionConfig(**_sizes(*VIT_SIZES[name]), dropout=0.0 if small else 0.1),
        data=ImagesConfig(
            sources=("images:photos",),
            crop="resized",
            flip=True,
            centre=0.875,
            mixup=0.2 if small else 0.0,
        ),
        train=TrainConfig(
            steps=round(epochs * imagenet.IMAGES / rows),
            batch_size=rows,
            eval_every=2500,
            optimizer=OptimizerConfig(
                learning_rate=1e-3 if small else 3e-3,
                warmup_steps=10_000,
                final_fraction=0.0,
                beta2=0.999,
                weight_decay=0.1 if small else 0.3,
            ),
        ),
    )


DINOV2_SIZES = {
    "dinov2-s14": (12, 384, 6),
    "dinov2-b14": (12, 768, 12),
    "dinov2-l14": (24, 1024, 16),
}


def dinov2(name: str) -> RunConfig:
    """DINOv2 with a classifier of ImageNet's labels on the class token and the mean of the patches.

    Command: `meshloom train dinov2-b14 --start-from hf:FOLDER --data.sources images:photos`; with
    `--model.image-size 224 224 --data.image-size 224 224` it is six times as fast. Hardware: one
    accelerator of 80 GB. It was trained without labels, which is not done here; linear classifiers
    on its frozen states reach 81.1 %, 84.5 % and 86.3 %. The recipe, of fine-tuning, is our own.
    Source: Oquab et al. 2023; parameters as in the released weights.
    """
    head = HeadConfig(kind="labels", outputs=1000, pooling="first_and_mean")
    size = (518, 518)
    return RunConfig(
        preset=name,
        model=VisionConfig(
            **_sizes(*DINOV2_SIZES[name]),
            image_size=size,
            patch_size=14,
            layer_scale=1e-5,
            mask_token=True,
            head=head,
        ),
        data=ImagesConfig(
            sources=("images:photos",),
            image_size=size,
            mean=imagenet.MEAN,
            std=imagenet.STD,
            crop="resized",
            flip=True,
        ),
        train=TrainConfig(
            steps=round(20 * imagenet.IMAGES / 512),
            batch_size=512,
            eval_every=2500,
            label_smoothing=0.1,
            optimizer=OptimizerConfig(
                learning_rate=1e-5, warmup_steps=2500, final_fraction=0.0, beta2=0.999
            ),
        ),
    )


VISION = {
    "tiny-vit": tiny_vit,
    **dict.fromkeys(VIT_SIZES, vit),
    **dict.fromkeys(DINOV2_SIZES, dinov2),
}


def _sizes(L: int, D: int, N: int) -> dict[str, Any]:
    return {
        "num_layers": L,
        "embed_dim": D,
        "num_heads": N,
        "head_dim": D // N,
        "mlp_dim": 4 * D,
    }
