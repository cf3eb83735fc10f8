"""Files of llama.cpp: their pairs of channels, their blocks, and their tokenizer."""

import json
from pathlib import Path
from typing import Any

import gguf
import jax
import numpy as np
import pytest
from gguf.quants import dequantize, quantize

from data.errors import UserError
from data.tokenizer import load_tokenizer
from launch.pretrained.checkpoint import open_pretrained
from launch.pretrained.gguf.names import NAMES
from launch.pretrained.verify import scores
from tests.launch.pretrained.test_published import loaded
from tests.models import mesh_of
from tests.oracles.published.models import MODELS, SCORES, TOKENS, drawn

CONFIG = MODELS["smollm2"]["config"]
H = CONFIG["hidden_size"] // CONFIG["num_attention_heads"]
BYTES = [*map(chr, (*range(33, 97), 0x120, 0x10A)), "AB"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def in_pairs(matrix: np.ndarray) -> np.ndarray:
    """Rows of each head as llama.cpp has them: the halves that turn together next to each other."""
    halves = matrix.reshape(-1, 2, H // 2, matrix.shape[-1])
    return halves.swapaxes(1, 2).reshape(matrix.shape)


def write(path: Path, *, quantized: bool = False, **changes: Any) -> Path:
    """The random SmolLM2 of the oracle; matrices of whole blocks in 8 bits if `quantized`."""
    writer = gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    writer.add_embedding_length(CONFIG["hidden_size"])
    writer.add_block_count(CONFIG["num_hidden_layers"])
    writer.add_head_count(CONFIG["num_attention_heads"])
    writer.add_head_count_kv(CONFIG["num_key_value_heads"])
    writer.add_feed_forward_length(CONFIG["intermediate_size"])
    writer.add_context_length(CONFIG["max_position_embeddings"])
    writer.add_layer_norm_rms_eps(CONFIG["rms_norm_eps"])
    writer.add_rope_freq_base(1e4)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(changes.get("pre", "smollm"))
    writer.add_token_list([*BYTES, "<|end|>"])
    writer.add_token_types([1] * len(BYTES) + [3] * changes.get("types", 1))
    writer.add_token_merges(["A B"])
    writer.add_bos_token_id(len(BYTES))
    if "endless" not in changes:
        writer.add_eos_token_id(len(BYTES))
    if "turned" in changes:
        writer.add_rope_dimension_count(H // 2)
    if "stretched" in changes:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    theirs = {ours.format(n): name.format(n) for name, ours in NAMES.items() for n in range(3)}
    for name, shape in MODELS["smollm2"]["shapes"].items():
        array = drawn(name, tuple(shape))
        if "q_proj" in name or "k_proj" in name:
            array = in_pairs(array)
        kind = gguf.GGMLQuantizationType.Q8_0
        if quantized and array.ndim == 2 and array.shape[1] % 32 == 0:
            writer.add_tensor(theirs[name], quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(theirs[name], array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_scores_are_those_of_transformers(tmp_path: Path) -> None:
    pretrained = open_pretrained(f"gguf:{write(tmp_path / 'a.gguf')}")
    assert pretrained.model.tied_embedding
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        actual = scores(loaded(pretrained, vocab_multiple=4), TOKENS)
    wanted = SCORES["smollm2"]
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


def test_blocks_of_eight_bits_are_read_by_rows_and_columns(tmp_path: Path) -> None:
    tensors = open_pretrained(f"gguf:{write(tmp_path / 'a.gguf', quantized=True)}").tensors
    kind = gguf.GGMLQuantizationType.Q8_0
    for name in ("model.layers.1.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight"):
        matrix = drawn(name, tensors[name].shape)
        pairs = in_pairs(matrix) if "q_proj" in name else matrix
        rounded = dequantize(quantize(pairs, kind), kind)
        if "q_proj" in name:
            halves = rounded.reshape(-1, H // 2, 2, rounded.shape[-1]).swapaxes(1, 2)
            rounded = halves.reshape(rounded.shape)
        actual = tensors[name].read(slice(8, 24), slice(3, 9))
        np.testing.assert_array_equal(actual, rounded[8:24, 3:9])
        assert 0 < np.abs(rounded - matrix).max() < 0.02


def test_its_tokenizer_cuts_as_its_own_does(tmp_path: Path) -> None:
    path = open_pretrained(f"gguf:{write(tmp_path / 'a.gguf')}").tokenizer
    assert path is not None
    tokenizer = load_tokenizer(str(path))
    (ids,) = tokenizer.encode_batch(["ABC 12"])
    assert tokenizer.decode_batch([ids]) == ["ABC 12"] and len(ids) == 5
    assert tokenizer.begin.name == tokenizer.end.name == "<|end|>"
    assert json.loads(path.with_name("tokenizer_config.json").read_text())["eos_token"] == "<|end|>"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gemma"}, r"general\.architecture='gemma' must be 'llama'"),
        ({"pre": "strange"}, r"tokenizer gpt2 with pre='strange' must be gpt2 with one of"),
        ({"endless": True}, r"must have tokenizer\.ggml\.eos_token_id, because"),
        ({"types": 2}, r"token_type must have a type for each of the 68 tokens, but it has 69"),
        ({"turned": True}, r"llama\.rope\.dimension_count=4 must not stand there"),
        ({"stretched": True}, r"llama\.rope\.scaling\.type='yarn' must not stand there"),
    ],
)
def test_what_it_does_not_say_here_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        open_pretrained(f"gguf:{write(tmp_path / 'a.gguf', **changes)}")


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    with pytest.raises(UserError, match="must be a file, but there is none"):
        open_pretrained(f"gguf:{path}")
    path.write_bytes(b"GGUF" + b"\x03\x00\x00\x00" + b"\xff" * 20)
    with pytest.raises(UserError, match="must be a whole GGUF file"):
        open_pretrained(f"gguf:{path}")
    whole = write(tmp_path / "b.gguf").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="must be a whole GGUF file"):
        open_pretrained(f"gguf:{path}")
