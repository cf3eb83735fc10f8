"""Small random checkpoints as `transformers` writes them, and what it says of them."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from launch.pretrained.safetensors import TYPES, WrittenArray, write_file

HERE = Path(__file__).parent
MODELS: dict[str, Any] = json.loads((HERE / "models.json").read_text(encoding="utf-8"))
VISION: dict[str, Any] = json.loads((HERE / "vision.json").read_text(encoding="utf-8"))
"""Models of images, which `vision.py` wrote."""
SCORES = np.load(HERE / "scores.npz")
TOKENS = np.random.default_rng(0).integers(3, 67, (2, 20)).astype(np.int32)


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight that the oracle had: `drawn` of `__main__`, which runs where this cannot."""
    values = 0.2 * np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    scale = len(shape) == 1 and name.endswith("weight")
    return (values + scale).astype(np.float32)


def checkpoint(kind: str, folder: Path, dtype: str = "F32") -> Path:
    """A folder with the config.json and the weights of that model."""
    folder.mkdir(parents=True, exist_ok=True)
    known = MODELS.get(kind) or VISION[kind]
    (folder / "config.json").write_text(json.dumps(known["config"]))
    shapes = {name: tuple(shape) for name, shape in known["shapes"].items()}
    entries = [WrittenArray(name, TYPES[dtype], shape) for name, shape in shapes.items()]
    write_file(folder / "model.safetensors", entries, lambda e: drawn(e.name, e.shape))
    return folder
