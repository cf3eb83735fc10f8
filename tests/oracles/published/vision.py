"""Write the goldens of vision models: what `transformers` says of images of two sizes.

It needs torch, transformers, safetensors and NumPy alone: `python
tests/oracles/published/vision.py`, made with torch 2.13.0 and transformers 5.24.
"""

import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import transformers as hf  # pyright: ignore[reportMissingImports]
from safetensors import safe_open  # pyright: ignore[reportMissingImports]

HERE = Path(__file__).parent
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 4,
}
REGISTERS = {"num_register_tokens": 2, "num_labels": 5, "layerscale_value": 0.5}
MODELS: dict[str, Any] = {
    "vit": hf.ViTForImageClassification(hf.ViTConfig(**SMALL, intermediate_size=48, num_labels=5)),
    "vit-bare": hf.ViTModel(hf.ViTConfig(**SMALL, intermediate_size=48), add_pooling_layer=False),
    "dinov2": hf.Dinov2ForImageClassification(
        hf.Dinov2Config(**SMALL, num_labels=5, use_mask_token=False)
    ),
    "dinov2-gated": hf.Dinov2Model(hf.Dinov2Config(**SMALL, use_swiglu_ffn=True, mlp_ratio=2)),
    "dinov2-registers": hf.Dinov2WithRegistersForImageClassification(
        hf.Dinov2WithRegistersConfig(**SMALL, **REGISTERS)
    ),
}
SIZES = {"": (16, 16), "/other": (12, 20), "/smaller": (8, 8)}
"""By what stands after the kind: the model's own size, and others."""


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """As in `__main__`."""
    values = 0.2 * np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    scale = len(shape) == 1 and name.endswith("weight")
    return (values + scale).astype(np.float32)


def main() -> None:
    scores, listed = {}, {}
    for kind, model in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            # Names in files are older than those in memory.
            model.save_pretrained(folder)
            path = Path(folder) / "model.safetensors"
            with safe_open(path, "pt") as file:
                shapes = {n: list(file.get_slice(n).get_shape()) for n in file.keys()}
            from safetensors.torch import save_file  # pyright: ignore[reportMissingImports]

            save_file({n: torch.tensor(drawn(n, tuple(s))) for n, s in shapes.items()}, path)
            bare = {"add_pooling_layer": False} if kind == "vit-bare" else {}
            loaded, left = type(model).from_pretrained(folder, output_loading_info=True, **bare)
        assert not any(left.values()), left
        for suffix, size in SIZES.items():
            pixels = torch.tensor(np.random.default_rng(0).normal(size=(2, 3, *size)))
            resized = {"interpolate_pos_encoding": True} if kind.startswith("vit") else {}
            with torch.no_grad():
                said = loaded.double().eval()(pixels, **resized)
            whole = said.logits if "logits" in said else said.last_hidden_state
            scores[kind + suffix] = whole.float().numpy()
        config = loaded.config.to_dict() | {"architectures": [type(model).__name__]}
        listed[kind] = {"config": config, "shapes": shapes}
        print(kind, scores[kind].shape, len(shapes))
    np.savez_compressed(HERE / "vision.npz", **scores)
    text = json.dumps(listed, default=str, separators=(",", ":"), sort_keys=True)
    (HERE / "vision.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
