"""Checkpoints in GGUF, the files of llama.cpp: numbers in blocks of a common scale, read as
float32.

What they hold is given the names of `transformers`, so that one table of names serves both.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from launch.pretrained.gguf.names import (
    ARCHITECTURE,
    FACTORS,
    HEAD,
    SIZES,
    in_halves,
    require_keys,
    stretching,
    their_name,
    turned,
)
from launch.pretrained.gguf.tokenizer import read_tokenizer
from launch.pretrained.tensors import Tensors
from model.families.rope_scaling import RopeScaling
from model.published.rope import scaling_fields

TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K")
"""Of tensors, as the format calls them."""


class QuantizedTensor(NamedTuple):
    """A matrix or a vector in a file, whose rows are made of blocks of its type."""

    name: str
    path: Path
    shape: tuple[int, ...]
    data: np.ndarray
    """The bytes, a row each, as they lie in the file."""
    kind: Any
    """`gguf.GGMLQuantizationType`."""
    head_dim: int
    """H where the rows of a head stand in pairs; 0 elsewhere."""

    @property
    def rows(self) -> int:
        return self.shape[0]

    def read(self, rows: slice, columns: slice | None = None) -> np.ndarray:
        """As `launch.pretrained.tensors.RawTensor.read`, in float32."""
        from gguf.quants import dequantize

        whole = self.head_dim or 1
        first = rows.start // whole * whole
        data = np.asarray(self.data[first : -(-rows.stop // whole) * whole])
        part = dequantize(data, self.kind).reshape(len(data), -1)
        if self.head_dim:
            part = in_halves(part, self.head_dim)
        part = part[rows.start - first : rows.stop - first]
        return part if columns is None else part[:, columns]


class GgufCheckpoint(NamedTuple):
    """What a file holds, in the words of `transformers`."""

    fields: dict[str, Any]
    tensors: Tensors
    tokenizer: Path


def require_library(field: str) -> None:
    """Raise ValueError if the package that knows the format is not installed; `field` asks for
    it."""
    if importlib.util.find_spec("gguf") is None:
        raise UserError(
            f"{field} must come with the package gguf, because it knows the types of that format; "
            "try: pip install 'meshloom[gguf]'"
        )


def open_gguf(path: Path) -> GgufCheckpoint:
    """The config, tensors and tokenizer of a file; ValueError if it is none, of another
    architecture, or of a type that is not read here."""
    require_library(f"start_from=gguf:{path}")
    import gguf

    if not path.is_file():
        raise UserError(f"start_from=gguf:{path} must be a file, but there is none; try its path")
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise UserError(
            f"{path} must be a whole GGUF file, because weights are read from it, but it is not "
            f"({error}); try fetching it again"
        ) from error
    known = {name: field.contents() for name, field in reader.fields.items() if field.data}
    architecture = known.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise UserError(
            f"{path}: general.architecture={architecture!r} must be {ARCHITECTURE!r}, because "
            "others have no names here; try the safetensors of that model"
        )
    fields = _fields(path, known, reader)
    tensors = {}
    for tensor in reader.tensors:
        if tensor.tensor_type.name not in TYPES:
            raise UserError(
                f"{path}: {tensor.name} must be of a type of {', '.join(TYPES)}, but it is of "
                f"{tensor.tensor_type.name}; try a file with one of these"
            )
        if tensor.name == FACTORS:
            continue
        name = their_name(tensor.name)
        shape = tuple(int(size) for size in reversed(tensor.shape.tolist()))
        pairs = fields["head_dim"] if turned(tensor.name) else 0
        tensors[name] = QuantizedTensor(name, path, shape, tensor.data, tensor.tensor_type, pairs)
    return GgufCheckpoint(fields, tensors, read_tokenizer(path, known))


def _fields(path: Path, known: Mapping[str, Any], reader: Any) -> dict[str, Any]:
    needed = ("embedding_length", "attention.head_count", "block_count", "feed_forward_length")
    require_keys(path, known, [f"{ARCHITECTURE}.{name}" for name in needed])
    own = {name: known.get(f"{ARCHITECTURE}.{theirs}") for name, theirs in SIZES.items()}
    fields = {name: _number(value) for name, value in own.items() if value is not None}
    sizes = {f"{ARCHITECTURE}.{name}" for name in (*SIZES.values(), *HEAD)}
    head = fields["hidden_size"] // fields["num_attention_heads"]
    head = known.get(f"{ARCHITECTURE}.attention.key_length", head)
    others = [f"{ARCHITECTURE}.{name}" for name in HEAD]
    strange = [name for name in others if known.get(name, head) != head]
    strange += sorted(n for n in known if n.startswith(f"{ARCHITECTURE}.") and n not in sizes)
    if strange:
        raise UserError(
            f"{path}: {strange[0]}={known[strange[0]]!r} must not stand there, because it may "
            "change what the model computes and nothing here reads it; try the safetensors"
        )
    factors = [tensor.data for tensor in reader.tensors if tensor.name == FACTORS]
    names = {tensor.name for tensor in reader.tensors}
    return {
        "vocab_size": len(known.get("tokenizer.ggml.tokens", ())),
        **fields,
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "head_dim": head,
        "tie_word_embeddings": "output.weight" not in names,
        **(_rope_scaling(path, factors[0], head, fields) if factors else {}),
    }


def _number(value: Any) -> Any:
    """A size as it is; of the numbers that a float32 stands for, the one with the fewest digits."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _rope_scaling(
    path: Path, factors: np.ndarray, head_dim: int, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """What config.json says where the wavelengths are stretched as in Llama 3.1."""
    factor, theta = float(factors.max()), fields.get("rope_theta", 1e4)
    scaling = RopeScaling(kind="llama3", factor=max(1.0, factor))
    if not np.allclose(factors, stretching(head_dim, theta, scaling), rtol=1e-5):
        raise UserError(
            f"{path}: {FACTORS} must stretch wavelengths as Llama 3.1 does, because the model turns"
            f" its queries by it, but it has {factors.tolist()}; try the safetensors"
        )
    return {"rope_scaling": scaling_fields(scaling)}
