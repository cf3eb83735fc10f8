"""Files for llama.cpp: what goes out is read back as it was, and what cannot be said is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from data.errors import UserError
from data.tokenizer import load_tokenizer
from launch.pretrained.checkpoint import open_pretrained
from launch.pretrained.gguf.tokenizer import CUTS, read_tokenizer, tokenizer_fields
from launch.pretrained.gguf.write import export_gguf
from launch.pretrained.tokenizer_files import TokenizerFiles
from launch.pretrained.verify import scores
from tests.families import QUICK
from tests.launch.pretrained.test_published import loaded
from tests.models import mesh_of
from tests.oracles.published.models import SCORES, TOKENS, checkpoint

TEXTS = ["The year 1984, isn't it?\n\n  Naïve CAFÉS:\t90 % “off”!", "WE'LL see 12 345 things", ""]
END = "<|endoftext|>"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def files_of(content: dict[str, Any], folder: Path, **beside: Any) -> TokenizerFiles:
    """A tokenizer in a folder of its own, with a tokenizer_config.json if something is `beside`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(content))
    if beside:
        (folder / "tokenizer_config.json").write_text(json.dumps(beside))
    return TokenizerFiles(load_tokenizer(str(path)), str(path), generates=True, length=40)


def bpe(cut: str = "gpt-2") -> dict[str, Any]:
    """A byte-level BPE that cuts text that way, with an ordinary token that was added."""
    fast = Tokenizer(models.BPE(ignore_merges=CUTS[cut].whole_first))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(TEXTS * 3, trainer)
    fast.add_tokens(["things"])
    steps = [{"trim_offsets": True, **step} for step in CUTS[cut].steps]
    pre = {"type": "Sequence", "pretokenizers": steps}
    return {**json.loads(fast.to_str()), "pre_tokenizer": pre}


def few_tokens() -> dict[str, Any]:
    """One of 66 tokens."""
    names = [END, *map(chr, range(33, 97)), "AB"]
    content = bpe()
    added = [token for token in content["added_tokens"] if token["content"] == END]
    model = {**content["model"], "vocab": {n: i for i, n in enumerate(names)}}
    return {**content, "added_tokens": added, "model": {**model, "merges": [["A", "B"]]}}


def read(tensor: Any) -> np.ndarray:
    return tensor.read(slice(0, tensor.rows)).reshape(tensor.shape)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("llama2", "float32"), ("llama3", "float16"), ("smollm2", "bfloat16"), ("llama3", "float32")],
)
def test_weights_and_architecture_come_back(kind: str, dtype: str, tmp_path: Path) -> None:
    pretrained = open_pretrained(f"hf:{checkpoint(kind, tmp_path / 'in')}")
    path = tmp_path / "out.gguf"
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        model = loaded(pretrained)
        export_gguf(model, path, "llama", dtype, files_of(few_tokens(), tmp_path), "it")
        again = open_pretrained(f"gguf:{path}")
        actual = scores(loaded(again), TOKENS)
    assert again.model == pretrained.model
    assert again.tensors.keys() == pretrained.tensors.keys()
    for name, tensor in again.tensors.items():
        wanted = read(pretrained.tensors[name])
        if wanted.ndim > 1:
            wanted = wanted.astype(dtype).astype(np.float32)
        np.testing.assert_array_equal(read(tensor), wanted, err_msg=name)
    far = {"float32": 2e-5, "float16": 1e-2, "bfloat16": 5e-2}[dtype]
    np.testing.assert_allclose(actual, SCORES[kind], rtol=0, atol=far * np.abs(SCORES[kind]).max())


def test_blocks_of_eight_bits_are_within_their_step(tmp_path: Path) -> None:
    pretrained = open_pretrained(f"hf:{checkpoint('llama2', tmp_path / 'in')}")
    files, path = files_of(few_tokens(), tmp_path), tmp_path / "out.gguf"
    with jax.set_mesh(mesh_of()):
        with pytest.raises(UserError, match=r"rows are blocks of 32.*ffn_down\.weight has rows of"):
            export_gguf(loaded(pretrained), path, "llama", "q8_0", files, "it")
        assert not list(tmp_path.glob("out.gguf*"))
        config = dataclasses.replace(pretrained.model, mlp_dim=64, head_dim=16)
        model = jax.jit(lambda: config.build(jax.random.key(0)), compiler_options=QUICK)()
        export_gguf(model, tmp_path / "whole.gguf", "llama", "float32", files, "it")
        export_gguf(model, path, "llama", "q8_0", files, "it")
    whole, small = (open_pretrained(f"gguf:{tmp_path / n}") for n in ("whole.gguf", "out.gguf"))
    assert small.model == whole.model and small.model.head_dim == 16
    for name, tensor in small.tensors.items():
        wanted, actual = read(whole.tensors[name]), read(tensor)
        if wanted.ndim == 1:
            np.testing.assert_array_equal(actual, wanted)
            continue
        blocks, rounded = wanted.reshape(-1, 32), actual.reshape(-1, 32)
        # The scale of a block, in 16 bits, is off by up to 2^-11.
        step = (0.5 + 127 / 2**11) * np.abs(blocks).max(-1, keepdims=True) / 127
        assert (np.abs(blocks - rounded) <= step).all() and (wanted != actual).any()


@pytest.mark.parametrize("cut", CUTS)
def test_a_tokenizer_comes_back(cut: str, tmp_path: Path) -> None:
    files = files_of(bpe(cut), tmp_path / "own", eos_token=END, bos_token=END, add_bos_token=False)
    (tmp_path / "own" / "chat_template.jinja").write_text("{{ messages }}")
    size = files.tokenizer.vocab_size
    fields = tokenizer_fields(files, size + 2)
    assert fields["tokenizer.ggml.tokens"][size:] == [f"[PAD{size}]", f"[PAD{size + 1}]"]
    again = read_tokenizer(tmp_path / "own.gguf", fields)
    tokenizer = load_tokenizer(str(again))
    for own, theirs in zip(
        files.tokenizer.encode_batch(TEXTS), tokenizer.encode_batch(TEXTS), strict=True
    ):
        assert own.tolist() == theirs.tolist()
    assert tokenizer.begin.id == tokenizer.end.id == files.tokenizer.end.id
    assert tokenizer.special == files.tokenizer.special
    config = json.loads(again.with_name("tokenizer_config.json").read_text())
    assert config["chat_template"] == "{{ messages }}" and config["add_bos_token"] is False


def test_text_begins_as_in_training_unless_a_file_says_otherwise(tmp_path: Path) -> None:
    fields = tokenizer_fields(files_of(bpe(), tmp_path / "none"), 400)
    assert fields["tokenizer.ggml.add_bos_token"] and fields["tokenizer.ggml.bos_token_id"] == 0
    for adds in (False, True):
        said = {"bos_token": END, "eos_token": END, "add_bos_token": adds}
        fields = tokenizer_fields(files_of(bpe(), tmp_path / str(adds), **said), 400)
        assert fields["tokenizer.ggml.add_bos_token"] == adds


def changed(content: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    if field not in content["model"]:
        return {**content, field: value}
    return {**content, "model": {**content["model"], field: value}}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("normalizer", {"type": "Lowercase"}, "normalizer must be that of a byte-level BPE"),
        ("decoder", None, "decoder must be that of a byte-level BPE"),
        ("byte_fallback", True, "model must be that of a byte-level BPE"),
        ("ignore_merges", True, "pre_tokenizer must be that of gpt-2, smollm, llama-bpe"),
        ("pre_tokenizer", {"type": "Whitespace"}, "pre_tokenizer must be that of gpt-2"),
        ("merges", [], "must have merges"),
    ],
)
def test_a_tokenizer_that_would_be_read_otherwise_is_refused(
    field: str, value: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        tokenizer_fields(files_of(changed(bpe(), field, value), tmp_path), 400)


def test_more_tokens_than_the_model_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at most the 300 tokens of the model.*has the id 3\d\d"):
        tokenizer_fields(files_of(bpe(), tmp_path), 300)


@pytest.mark.parametrize(
    ("kind", "model_type", "message"),
    [
        ("mistral", "mistral", r"model\.window=7 must be None, because llama\.cpp"),
        ("qwen2", "qwen2", r"model_type=qwen2 with model\.head\.kind=language must be one of"),
        ("gpt2", "llama", r"must be"),
    ],
)
def test_another_architecture_is_refused(
    kind: str, model_type: str, message: str, tmp_path: Path
) -> None:
    pretrained = open_pretrained(f"hf:{checkpoint(kind, tmp_path / 'in')}")
    with jax.set_mesh(mesh_of()), pytest.raises(UserError, match=message):
        files = files_of(few_tokens(), tmp_path)
        export_gguf(loaded(pretrained), tmp_path / "out.gguf", model_type, "float32", files, "it")
    assert not list(tmp_path.glob("out.gguf*"))


def test_a_number_that_the_type_cannot_hold_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    pretrained = open_pretrained(f"hf:{checkpoint('smollm2', tmp_path / 'in')}")
    files = files_of(few_tokens(), tmp_path)
    with jax.set_mesh(mesh_of()):
        model = loaded(pretrained)
        table = model.embedding.table
        table[...] = table[...].at[5, 3].set(1e5)
        with pytest.raises(UserError, match=r"dtype=float16 must hold.*token_embd\.weight goes up"):
            export_gguf(model, tmp_path / "out.gguf", "llama", "float16", files, "it")
    assert not list(tmp_path.glob("out.gguf*"))
