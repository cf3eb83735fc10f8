"""Write the goldens of `tests.oracles.convnets`: what `transformers` says of small random networks.

It needs torch, transformers and NumPy alone: `python tests/oracles/convnets/__main__.py`, made
with torch 2.13.0 and transformers 5.24.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import transformers as hf  # pyright: ignore[reportMissingImports]

HERE = Path(__file__).parent
SIZES = {"hidden_sizes": [8, 16, 24], "depths": [2, 1, 2], "num_labels": 5}
STAGED = {"num_stages": 3, "patch_size": 4, "layer_scale_init_value": 0.1}
MODELS = {
    "convnext": hf.ConvNextForImageClassification(hf.ConvNextConfig(**SIZES, **STAGED)),
    "resnet-bottleneck": hf.ResNetForImageClassification(
        hf.ResNetConfig(**SIZES, embedding_size=8, layer_type="bottleneck")
    ),
    "resnet-basic": hf.ResNetForImageClassification(
        hf.ResNetConfig(
            **SIZES, embedding_size=12, layer_type="basic", downsample_in_first_stage=True
        )
    ),
}
IMAGES = np.random.default_rng(0).normal(size=(2, 37, 45, 3)).astype(np.float32)


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight or a statistic of that name: normal, near 1 for the scales of norms, and a variance
    that is positive."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return draw.uniform(0.3, 2.0, shape).astype(np.float32)
    # The branches add up: their sums stay near 1.
    values = draw.normal(size=shape) * (0.2 if len(shape) < 2 else np.prod(shape[1:]) ** -0.5)
    return (values + (len(shape) == 1 and name.endswith("weight"))).astype(np.float32)


def main() -> None:
    scores, listed = {}, {}
    images = torch.tensor(IMAGES).permute(0, 3, 1, 2).double()
    for kind, model in MODELS.items():
        state = model.state_dict()
        shapes = {n: list(v.shape) for n, v in state.items()}
        state = {
            n: torch.tensor(drawn(n, tuple(s))) for n, s in shapes.items() if "num_batches" not in n
        }
        left = model.load_state_dict(state, strict=False)
        assert not left.unexpected_keys and all("num_batches" in n for n in left.missing_keys)
        with torch.no_grad():
            scores[kind] = model.double().eval()(images).logits.float().numpy()
        config = model.config.to_dict() | {"architectures": [type(model).__name__]}
        listed[kind] = {"config": config, "shapes": shapes}
        print(kind, scores[kind])
    np.savez_compressed(HERE / "scores.npz", **scores)
    text = json.dumps(listed, default=str, separators=(",", ":"), sort_keys=True)
    (HERE / "models.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
