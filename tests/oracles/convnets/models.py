"""Small random convolutional networks as `transformers` writes them, and what it says of them."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from launch.pretrained.safetensors import TYPES, WrittenArray, write_file

HERE = Path(__file__).parent
MODELS: dict[str, Any] = json.loads((HERE / "models.json").read_text(encoding="utf-8"))
SCORES = np.load(HERE / "scores.npz")
IMAGES = np.random.default_rng(0).normal(size=(2, 37, 45, 3)).astype(np.float32)


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight that the oracle had: `drawn` of `__main__`, which runs where this cannot."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return draw.uniform(0.3, 2.0, shape).astype(np.float32)
    values = draw.normal(size=shape) * (0.2 if len(shape) < 2 else np.prod(shape[1:]) ** -0.5)
    return (values + (len(shape) == 1 and name.endswith("weight"))).astype(np.float32)


def checkpoint(kind: str, folder: Path) -> Path:
    """A folder with the config.json and the weights of that network."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(MODELS[kind]["config"]))
    shapes = {name: tuple(shape) for name, shape in MODELS[kind]["shapes"].items()}
    entries = [
        WrittenArray(name, TYPES["F32" if shape else "I64"], shape)
        for name, shape in shapes.items()
    ]
    write_file(
        folder / "model.safetensors",
        entries,
        lambda e: drawn(e.name, e.shape) if e.shape else np.zeros((), np.int64),
    )
    return folder
