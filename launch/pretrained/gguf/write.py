"""Weights of ours as one GGUF file, the files of llama.cpp, written a tensor at a time."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from data import durable
from data.errors import UserError
from launch.pretrained.export import config_json
from launch.pretrained.gathered import Gathered, require_finite
from launch.pretrained.gguf.names import (
    ARCHITECTURE,
    FACTORS,
    HEAD,
    SIZES,
    gguf_name,
    in_pairs,
    stretching,
    turned,
)
from launch.pretrained.gguf.read import require_library
from launch.pretrained.gguf.tokenizer import tokenizer_fields
from launch.pretrained.tokenizer_files import TokenizerFiles
from model.families.rope_scaling import RopeScaling
from model.published import PUBLISHED

TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}
"""Of matrices; vectors stay in float32, as llama.cpp has them."""
FILE_TYPES = {"float32": 0, "float16": 1, "q8_0": 7, "bfloat16": 32}
"""`general.file_type`."""
BLOCK = 32
"""Numbers with a common scale in `q8_0`."""
MODEL_TYPES = ("llama", "mistral")
"""Published kinds that llama.cpp computes as `llama`."""


class StoredTensor(NamedTuple):
    """A tensor of a file."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    """Its numbers in float32."""

    @property
    def is_matrix(self) -> bool:
        return len(self.shape) > 1


def export_gguf(
    model: Any, path: Path, model_type: str, dtype: str, files: TokenizerFiles, name: str
) -> None:
    """Write the weights, the architecture and the tokenizer of a model; `name` is what it is
    called.

    All processes take part, and the first writes. Raises ValueError for an architecture or a
    tokenizer that llama.cpp reads otherwise or not at all, and for weights that the type cannot
    hold.
    """
    require_library(f"output=gguf:{path.name}")
    from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFWriter
    from gguf.quants import dequantize, quant_shape_to_byte_shape, quantize

    config = model.config
    fields = _fields(config, model_type)
    tensors = list(_tensors(Gathered(model, PUBLISHED[model_type]), config))
    _require_blocks(tensors, dtype)
    writer = GGUFWriter(None, ARCHITECTURE)
    known = {**_sizes(fields), **tokenizer_fields(files, config.vocab_size)}
    for key, value in {"general.name": name, **known}.items():
        _add(writer, key, value)
    writer.add_file_type(FILE_TYPES[dtype])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    kinds = [
        GGMLQuantizationType[TYPES[dtype] if tensor.is_matrix else "F32"] for tensor in tensors
    ]
    for tensor, kind in zip(tensors, kinds, strict=True):
        stored = quant_shape_to_byte_shape(tensor.shape, kind)
        writer.add_tensor_info(
            tensor.name, stored, np.dtype(np.uint8), math.prod(stored), raw_dtype=kind
        )

    def packed() -> Iterator[np.ndarray]:
        for tensor, kind in zip(tensors, kinds, strict=True):
            whole = tensor.read()
            with np.errstate(all="ignore"):
                small = quantize(whole, kind)
                require_finite(tensor.name, dtype, whole, dequantize(small, kind))
            yield small

    if jax.process_index():
        for _ in packed():
            pass
        return
    with durable.replacing(path) as temporary:
        writer.write_header_to_file(temporary)
        try:
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for array in packed():
                writer.write_tensor_data(array)
        finally:
            writer.close()


def _tensors(gathered: Gathered, config: Any) -> Iterator[StoredTensor]:
    """What a file holds, in its order."""
    head_dim = config.head_dim
    if config.rope_scaling.kind != "none":
        factors = stretching(head_dim, config.rope_theta, config.rope_scaling)
        yield StoredTensor(FACTORS, factors.shape, lambda: factors)

    def read(theirs: str, name: str) -> np.ndarray:
        whole = gathered.read(theirs).astype(np.float32)
        return np.ascontiguousarray(in_pairs(whole, head_dim) if turned(name) else whole)

    for theirs, shape in gathered.shapes.items():
        name = gguf_name(theirs)
        yield StoredTensor(name, shape, functools.partial(read, theirs, name))


def _sizes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says of an architecture, from the fields of a config.json."""
    own = {f"{ARCHITECTURE}.{theirs}": fields[name] for name, theirs in SIZES.items()}
    return {**own, **{f"{ARCHITECTURE}.{each}": fields["head_dim"] for each in HEAD}}


def _add(writer: Any, key: str, value: Any) -> None:
    """A field, of the type that llama.cpp reads it in."""
    from gguf import GGUFValueType

    kinds = {
        bool: GGUFValueType.BOOL,
        int: GGUFValueType.UINT32,
        float: GGUFValueType.FLOAT32,
        str: GGUFValueType.STRING,
        list: GGUFValueType.ARRAY,
    }
    writer.add_key_value(key, value, kinds[type(value)])


def _fields(config: Any, model_type: str) -> Mapping[str, Any]:
    """The fields of config.json; ValueError for an architecture that is not written here."""
    if model_type not in MODEL_TYPES or config.head.kind != "language":
        raise UserError(
            f"model_type={model_type} with model.head.kind={config.head.kind} must be one of "
            f"{', '.join(MODEL_TYPES)} with language, because GGUF is written for these here; try "
            "hf:DIRECTORY"
        )
    fields = config_json(config, model_type, "float32")
    if window := fields.get("sliding_window"):
        raise UserError(
            f"model.window={window} must be None, because llama.cpp lets a Llama see everything; "
            "try hf:DIRECTORY"
        )
    if (scaling := config.rope_scaling) not in (
        RopeScaling(),
        RopeScaling(kind="llama3", factor=scaling.factor),
    ):
        raise UserError(
            f"model.rope_scaling={scaling} must be none, or that of Llama 3.1 with any factor, "
            "because other stretching is not written here; try hf:DIRECTORY"
        )
    return fields


def _require_blocks(tensors: Sequence[StoredTensor], dtype: str) -> None:
    for name, shape in ((each.name, each.shape) for each in tensors if each.is_matrix):
        if dtype == "q8_0" and shape[1] % BLOCK:
            raise UserError(
                f"dtype=q8_0 must be of matrices whose rows are blocks of {BLOCK}, because each "
                f"has one scale, but {name} has rows of {shape[1]:,}; try --dtype float16"
            )
