"""EfficientNet-Lite0 of a package in safetensors, and what torch computes with it from photographs.

`python tests/oracles/convnets/efficientnet.py WEIGHTS.pth FOLDER PHOTO...` needs torch, NumPy,
safetensors and Pillow; `python -m tests.oracles.convnets.efficientnet_compared FOLDER` asks ours.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from PIL import Image
from safetensors.torch import save_file  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

SIDE, MEAN, STD = 224, 127.0, 128.0
ROWS = [(1, 1, 3), (2, 2, 3), (2, 2, 5), (3, 2, 3), (3, 1, 5), (4, 2, 5), (1, 1, 3)]
"""Depth, stride and kernel of each stage."""


def convolved(x: torch.Tensor, w: torch.Tensor, stride: int, groups: int = 1) -> torch.Tensor:
    """A convolution that pads as TensorFlow's SAME."""
    k = w.shape[-1]
    pads = []
    for length in (x.shape[-1], x.shape[-2]):
        total = max(0, (-(-length // stride) - 1) * stride + k - length)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), w, stride=stride, groups=groups)


def forward(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        parts = [state[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *parts, training=False, eps=1e-3)

    x = F.relu6(norm(convolved(x, state["_conv_stem.weight"], 2), "_bn0"))
    number = 0
    for depth, stride, _ in ROWS:
        for first in [True] + [False] * (depth - 1):
            at, step = f"_blocks.{number}", stride if first else 1
            y = x
            if f"{at}._expand_conv.weight" in state:
                y = F.relu6(norm(convolved(y, state[f"{at}._expand_conv.weight"], 1), f"{at}._bn0"))
            w = state[f"{at}._depthwise_conv.weight"]
            y = F.relu6(norm(convolved(y, w, step, groups=len(w)), f"{at}._bn1"))
            y = norm(convolved(y, state[f"{at}._project_conv.weight"], 1), f"{at}._bn2")
            x = x + y if y.shape == x.shape else y
            number += 1
    x = F.relu6(norm(convolved(x, state["_conv_head.weight"], 1), "_bn1")).mean((2, 3))
    return F.linear(x, state["_fc.weight"], state["_fc.bias"])


def photograph(path: str) -> np.ndarray:
    """The largest centred square in 224 x 224, [H, W, 3], as the network was trained on it."""
    image = Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    pixels = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    return (np.asarray(pixels, np.float32) - MEAN) / STD


def main(weights: str, folder: Path, photographs: list[str]) -> None:
    state = torch.load(weights, weights_only=True)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: v.contiguous() for n, v in state.items()}, folder / "model.safetensors")
    fields = {"model_type": "efficientnet_lite0", "architectures": ["EfficientNetLite"]}
    (folder / "config.json").write_text(json.dumps({**fields, "num_labels": 1000}))
    images = np.stack([photograph(path) for path in photographs])
    exact = {n: v.double() for n, v in state.items()}
    with torch.no_grad():
        logits = forward(exact, torch.tensor(images).permute(0, 3, 1, 2).double()).numpy()
    np.savez(folder / "logits.npz", images=images, logits=logits, names=np.array(photographs))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
