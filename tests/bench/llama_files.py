"""A Llama's checkpoint as large as a real one: sparse files of zeros, or random numbers."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import ml_dtypes
import numpy as np

SIZES = {
    "70b": (80, 8192, 64, 8, 28_672, 128_256),
    "1b": (16, 2048, 32, 8, 8192, 128_256),
    "tiny": (2, 64, 4, 4, 128, 512),
}
"""L, D, N, K, F, V."""
FILE = 5 * 10**9
"""Bytes of a file at most, as `transformers` writes them."""
Shapes = dict[str, tuple[int, ...]]


def write(folder: Path, model: Literal["70b", "1b", "tiny"]) -> None:
    """Write the model `70b` as zeros that take no room, or another as random bfloat16 numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    L, D, N, K, F, V = SIZES[model]
    files: list[Shapes] = [{}]
    for name, shape in shapes(L, D, N, K, F, V):
        if sum(map(math.prod, files[-1].values())) * 2 + math.prod(shape) * 2 > FILE:
            files.append({})
        files[-1][name] = shape
    places = {}
    for number, tensors in enumerate(files, 1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors"
        places |= dict.fromkeys(tensors, name)
        write_file(folder / name, tensors, sparse=model == "70b")
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": V,
        "hidden_size": D,
        "num_hidden_layers": L,
        "num_attention_heads": N,
        "num_key_value_heads": K,
        "intermediate_size": F,
        "max_position_embeddings": 8192,
    }
    (folder / "config.json").write_text(json.dumps(config))


def shapes(L: int, D: int, N: int, K: int, F: int, V: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Tensors in the order of such files."""
    yield "model.embed_tokens.weight", (V, D)
    for layer in range(L):
        at, H = f"model.layers.{layer}", D // N
        for name, outs, ins in (
            ("self_attn.q_proj", N * H, D),
            ("self_attn.k_proj", K * H, D),
            ("self_attn.v_proj", K * H, D),
            ("self_attn.o_proj", D, N * H),
            ("mlp.gate_proj", F, D),
            ("mlp.up_proj", F, D),
            ("mlp.down_proj", D, F),
        ):
            yield f"{at}.{name}.weight", (outs, ins)
        yield f"{at}.input_layernorm.weight", (D,)
        yield f"{at}.post_attention_layernorm.weight", (D,)
    yield "model.norm.weight", (D,)
    yield "lm_head.weight", (V, D)


def write_file(path: Path, tensors: Shapes, *, sparse: bool) -> None:
    """A safetensors file of bfloat16."""
    header, end = {}, 0
    for name, shape in tensors.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        if sparse:
            file.truncate(file.tell() + end)
            return
        for shape in tensors.values():
            values = generator.standard_normal(math.prod(shape), np.float32)
            file.write(values.astype(ml_dtypes.bfloat16).view(np.uint8).data)
