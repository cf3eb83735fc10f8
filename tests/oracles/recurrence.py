"""Recurrent layers with weights in torch's layout, drawn by their names, and inputs for them."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from model.recurrence import CELLS, Recurrence
from model.recurrent_layers import RecurrentLayers

GOLDEN = Path(__file__).with_name("recurrence.npz")
"""What torch gives for each cell: outputs and their gradients, which
`python -m tests.oracles.write_recurrence` writes."""

D, H, L, B, T = 12, 16, 2, 3, 20
"""H are those of both directions."""
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def torch_weights(kind: str) -> dict[str, np.ndarray]:
    """Weights of a bidirectional `torch.nn` layer by their names there."""
    G, half, weights = CELLS[kind].blocks, H // 2, {}
    for layer in range(L):
        for end in ("", "_reverse"):
            inputs = H if layer else D
            shapes = ((G * half, inputs), (G * half, half), (G * half,), (G * half,))
            for name, shape in zip(NAMES, shapes, strict=True):
                whole = f"{name}_l{layer}{end}"
                draw = np.random.default_rng(zlib.crc32(f"{kind} {whole}".encode()))
                weights[whole] = (0.3 * draw.normal(size=shape)).astype(np.float32)
    return weights


def inputs() -> np.ndarray:
    """[B, T, D]."""
    return np.random.default_rng(1).normal(size=(B, T, D)).astype(np.float32)


def load(layer: Recurrence, weights: Mapping[str, Any], end: str = "") -> None:
    """Put the weights of a layer and direction of torch into one of ours: biases that add up are
    one here."""
    w_input, w_hidden, b_input, b_hidden = (np.asarray(weights[name + end]) for name in NAMES)
    cell, width = CELLS[layer.kind], w_hidden.shape[1]
    added = cell.added * width
    joint = np.where(np.arange(len(b_input)) < added, b_input + b_hidden, b_input)
    layer.w_input[...] = jnp.asarray(w_input.T)
    layer.w_hidden[...] = jnp.asarray(w_hidden.T)
    layer.b_input[...] = jnp.asarray(joint)
    if layer.b_hidden is not None:
        layer.b_hidden[...] = jnp.asarray(b_hidden[added:])


def load_layers(layers: RecurrentLayers, weights: Mapping[str, Any]) -> None:
    """All layers and directions."""
    for number, layer in enumerate(layers.layers):
        for direction, end in zip(layer, ("", "_reverse"), strict=False):
            load(direction, weights, f"_l{number}{end}")
