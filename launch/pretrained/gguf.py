"""Checkpoints in GGUF, the files of llama.cpp: numbers in blocks of a common scale, read as
float32.

What they hold is given the names of `transformers`, so that one table of names serves both.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data import durable
from data.cache import local_cache
from data.errors import UserError
from launch.pretrained.tensors import Tensors

TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K")
"""Of tensors, as the format calls them."""
LAYER = "model.layers.{}"
NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "blk.{}.attn_norm.weight": f"{LAYER}.input_layernorm.weight",
    "blk.{}.attn_q.weight": f"{LAYER}.self_attn.q_proj.weight",
    "blk.{}.attn_k.weight": f"{LAYER}.self_attn.k_proj.weight",
    "blk.{}.attn_v.weight": f"{LAYER}.self_attn.v_proj.weight",
    "blk.{}.attn_output.weight": f"{LAYER}.self_attn.o_proj.weight",
    "blk.{}.ffn_norm.weight": f"{LAYER}.post_attention_layernorm.weight",
    "blk.{}.ffn_gate.weight": f"{LAYER}.mlp.gate_proj.weight",
    "blk.{}.ffn_up.weight": f"{LAYER}.mlp.up_proj.weight",
    "blk.{}.ffn_down.weight": f"{LAYER}.mlp.down_proj.weight",
}
TURNED = (".attn_q.", ".attn_k.")
"""Tensors whose rows stand in pairs of channels that RoPE turns, where ours stand in halves."""
SIZES = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
}
PRETOKENIZERS = ("gpt-2", "smollm")
CONTROL = 3
"""The type of a token that stands for no text."""


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
            pairs = part.reshape(-1, self.head_dim // 2, 2, part.shape[-1])
            part = pairs.swapaxes(1, 2).reshape(part.shape)
        part = part[rows.start - first : rows.stop - first]
        return part if columns is None else part[:, columns]


class GgufCheckpoint(NamedTuple):
    """What a file holds, in the words of `transformers`."""

    fields: dict[str, Any]
    tensors: Tensors
    tokenizer: Path


def open_gguf(path: Path) -> GgufCheckpoint:
    """The config, tensors and tokenizer of a file; ValueError if it is none, of another
    architecture, or of a type that is not read here."""
    try:
        import gguf
    except ImportError as error:
        raise UserError(
            f"start_from=gguf:{path} must come with the package gguf, because it knows the types "
            "of that format; try: pip install 'meshloom[gguf]'"
        ) from error
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
    if architecture != "llama":
        raise UserError(
            f"{path}: general.architecture={architecture!r} must be 'llama', because others have "
            "no names here; try the safetensors of that model"
        )
    fields = _fields(path, known, reader)
    head_dim = fields["hidden_size"] // fields["num_attention_heads"]
    tensors = {}
    for tensor in reader.tensors:
        if tensor.tensor_type.name not in TYPES:
            raise UserError(
                f"{path}: {tensor.name} must be of a type of {', '.join(TYPES)}, but it is of "
                f"{tensor.tensor_type.name}; try a file with one of these"
            )
        name = their_name(tensor.name)
        shape = tuple(int(size) for size in reversed(tensor.shape.tolist()))
        pairs = head_dim if any(part in tensor.name for part in TURNED) else 0
        tensors[name] = QuantizedTensor(name, path, shape, tensor.data, tensor.tensor_type, pairs)
    return GgufCheckpoint(fields, tensors, _tokenizer(path, known))


def their_name(name: str) -> str:
    """The name that `transformers` has for a tensor; its own if there is none."""
    layer = re.match(r"blk\.(\d+)\.", name)
    common = re.sub(r"^blk\.\d+\.", "blk.{}.", name)
    return NAMES.get(common, name).format(layer[1] if layer else "")


def _fields(path: Path, known: Mapping[str, Any], reader: Any) -> dict[str, Any]:
    stretched = sorted(name for name in known if name.startswith("llama.rope.scaling"))
    if stretched or any(tensor.name == "rope_freqs.weight" for tensor in reader.tensors):
        raise UserError(
            f"{path}: rope must not be stretched, because files of this format "
            f"do not say how ({', '.join(stretched) or 'rope_freqs.weight'}); try the safetensors"
        )
    sizes = {f"llama.{name}" for name in (*SIZES.values(), "vocab_size")}
    head = known["llama.embedding_length"] // known["llama.attention.head_count"]
    heads = ("rope.dimension_count", "attention.key_length", "attention.value_length")
    whole = {f"llama.{name}" for name in heads if known.get(f"llama.{name}") == head}
    rest = {name for name in known if name.startswith("llama.")} - sizes - whole
    if strange := sorted(rest):
        raise UserError(
            f"{path}: {strange[0]}={known[strange[0]]!r} must not stand there, because it may "
            "change what the model computes and nothing here reads it; try the safetensors"
        )
    names = {tensor.name for tensor in reader.tensors}
    fields = {ours: known.get(f"llama.{name}") for ours, name in SIZES.items()}
    tokens = known.get("tokenizer.ggml.tokens", ())
    return {
        **{name: value for name, value in fields.items() if value is not None},
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": known.get("llama.vocab_size", len(tokens)),
        "tie_word_embeddings": "output.weight" not in names,
    }


def _tokenizer(path: Path, known: Mapping[str, Any]) -> Path:
    """The tokenizer of the file as a `tokenizer.json`, which is written into the cache."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    kind, pre = known.get("tokenizer.ggml.model"), known.get("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or pre not in PRETOKENIZERS:
        raise UserError(
            f"{path}: tokenizer {kind} with pre={pre!r} must be gpt2 with one of "
            f"{', '.join(PRETOKENIZERS)}, because others cut words otherwise; try the safetensors "
            "of that model with its tokenizer.json"
        )
    tokens = known["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in known["tokenizer.ggml.merges"]]
    try:
        fast = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges))
    except Exception as error:  # the library raises no other
        raise UserError(
            f"{path} must hold a tokenizer whose merges are of its tokens, because text is cut by "
            f"them, but: {error}; try fetching it again"
        ) from error
    digits = [pre_tokenizers.Digits(individual_digits=True)] if pre == "smollm" else []
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    fast.pre_tokenizer = pre_tokenizers.Sequence([*digits, words])
    fast.decoder = decoders.ByteLevel()
    types = known["tokenizer.ggml.token_type"]
    control = [t for t, kind in zip(tokens, types, strict=True) if kind == CONTROL]
    fast.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in control]
    )
    end = tokens[known["tokenizer.ggml.eos_token_id"]]
    begin = tokens[known.get("tokenizer.ggml.bos_token_id", known["tokenizer.ggml.eos_token_id"])]
    config = {
        "bos_token": begin,
        "eos_token": end,
        "add_bos_token": bool(known.get("tokenizer.ggml.add_bos_token", False)),
        "chat_template": known.get("tokenizer.chat_template"),
    }
    size = path.stat().st_size
    folder = local_cache("~/.cache/meshloom") / "gguf" / f"{path.stem}-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    durable.write(folder / "tokenizer.json", fast.to_str())
    durable.write(folder / "tokenizer_config.json", json.dumps(config, indent=2))
    return folder / "tokenizer.json"
