"""Every published kind: its scores are those of `transformers`, on any mesh, and it goes out as it
came in."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jaxtyping import Array
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from data.errors import UserError
from launch.pretrained.adopt import adopt
from launch.pretrained.checkpoint import Pretrained, open_pretrained
from launch.pretrained.export import config_json, export_weights
from launch.pretrained.load import load_weights
from launch.pretrained.match import match
from launch.pretrained.safetensors import WrittenArray, open_folder, write_file
from launch.pretrained.verify import scores
from launch.run.export import type_of
from model.sharding import spec
from tests.families import QUICK, QWEN
from tests.models import mesh_of
from tests.oracles.published.models import MODELS, SCORES, TOKENS, checkpoint
from train.loss import cross_entropy

OLDER_ROPE = {
    *("rope_theta", "rope_scaling", "partial_rotary_factor", "rope_local_base_freq"),
    *("global_rope_theta", "local_rope_theta"),
}
"""Fields that `transformers` 5 has in `rope_parameters`."""


def loaded(pretrained: Pretrained, **changes: Any) -> Any:
    """The model with its weights, on the current mesh."""
    config = dataclasses.replace(pretrained.model, dtype="float32", attention="xla", **changes)
    model = jax.jit(lambda: config.build(jax.random.key(0)), compiler_options=QUICK)()
    return load_weights(model, pretrained, lambda line: None)


@pytest.mark.parametrize("kind", MODELS)
def test_scores_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    pretrained = open_pretrained(f"hf:{checkpoint(kind, tmp_path)}")
    with jax.set_mesh(mesh_of()):
        actual = scores(loaded(pretrained), TOKENS)
    wanted = SCORES[kind]
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "kind", ["gpt2", "olmo2", "phi3", "gemma3", "bert", "modernbert", "t5", "t5-v1.1"]
)
def test_shards_of_a_mesh_are_parts_of_the_same(kind: str, tmp_path: Path) -> None:
    """The vocabulary of 68 is padded to 72."""
    changes = {"vocab_multiple": 8}
    pretrained = open_pretrained(f"hf:{checkpoint(kind, tmp_path)}")
    with jax.set_mesh(mesh_of(replica=2, fsdp=2, tensor=2)):
        actual = scores(loaded(pretrained, **changes), np.repeat(TOKENS, 4, 0))
    wanted = np.repeat(SCORES[kind], 4, 0)
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", MODELS)
def test_what_goes_out_is_what_came_in(kind: str, tmp_path: Path) -> None:
    pretrained = open_pretrained(f"hf:{checkpoint(kind, tmp_path / 'in', 'BF16')}")
    model_type = MODELS[kind]["config"]["model_type"]
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        model = loaded(pretrained, vocab_multiple=8)
        fields = export_weights(model, tmp_path / "out", model_type, "bfloat16", largest=20_000)
    ours, theirs = open_folder(tmp_path / "out"), pretrained.tensors
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        rows = slice(0, tensor.rows)
        assert ours[name].shape == tensor.shape
        np.testing.assert_array_equal(ours[name].read(rows), tensor.read(rows), err_msg=name)
    assert len({tensor.path for tensor in ours.values()}) > 1
    assert fields["architectures"] == MODELS[kind]["config"]["architectures"]
    again = open_pretrained(f"hf:{tmp_path / 'out'}").model
    assert again == pretrained.model
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == fields
    for schema in (OLDER_ROPE, {"rope_parameters"}):
        known = {name: own for name, own in fields.items() if name not in schema}
        (tmp_path / "out" / "config.json").write_text(json.dumps(known))
        assert open_pretrained(f"hf:{tmp_path / 'out'}").model == pretrained.model, schema


@pytest.mark.parametrize("kind", ["smollm2", "llama2", "bert"])
def test_tokens_that_only_pad_take_no_part(kind: str, tmp_path: Path) -> None:
    """Padded to 128 and cut in four, the last shard has padding alone."""
    pretrained = open_pretrained(f"hf:{checkpoint(kind, tmp_path)}")
    rows = (np.repeat(TOKENS, 2, 0), np.roll(np.repeat(TOKENS, 2, 0), -1, 1))
    losses = []
    for sizes, multiple in (({}, 1), ({"fsdp": 2, "tensor": 4}, 128)):
        with jax.set_mesh(mesh_of(**sizes)):
            model = loaded(pretrained, vocab_multiple=multiple)
            assert (np.asarray(model.embedding.table[...])[68:] == 0).all()
            losses.append(loss(model, *rows))
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def loss(model: Any, tokens: np.ndarray, targets: np.ndarray) -> float:
    """Sum of the cross entropy of targets at all places."""
    batch, ones = spec("batch", "length"), np.ones(tokens.shape, np.float32)
    placed = [jax.device_put(array, batch) for array in (tokens, targets, ones)]

    def run(model: Any, tokens: Array, targets: Array, weights: Array) -> Array:
        x, head, table = model(tokens), model.task_head, model.output_table[...]
        x, bias = (x, None) if head is None else (head(x), head.bias[...])
        scoring = model.config.scoring
        sums: Any = cross_entropy(x, table, targets, weights, 0.0, 8, bias, scoring)
        return sums[0]

    return float(jax.jit(run, compiler_options=QUICK)(model, *placed))


@pytest.mark.parametrize("kind", ["smollm2", "llama2", "bert"])
def test_tokens_may_be_added(kind: str, tmp_path: Path) -> None:
    """Their rows are fresh, those before them the checkpoint's, and those that pad are nothing."""
    pretrained, said = open_pretrained(f"hf:{checkpoint(kind, tmp_path)}"), []
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        config = dataclasses.replace(pretrained.model, vocab_size=70, vocab_multiple=8)
        build = jax.jit(lambda: config.build(jax.random.key(0)), compiler_options=QUICK)
        model = load_weights(build(), pretrained, said.append)
        own, drawn, plain = (
            np.asarray(each.embedding.table[...])
            for each in (model, build(), loaded(pretrained, vocab_multiple=8))
        )
    np.testing.assert_array_equal(own[:68], plain[:68])
    np.testing.assert_array_equal(own[68:70], drawn[68:70])
    assert (own[70:] == 0).all() and (own[68:70] != 0).all()
    assert any("rows 68 to 69 of embedding/table" in line for line in said)
    with pytest.raises(UserError, match=r"model\.vocab_size=60 must be 68, because"):
        match(pretrained, dataclasses.replace(pretrained.model, vocab_size=60))


def test_a_head_that_is_asked_something_else_scores_by_fresh_weights(tmp_path: Path) -> None:
    """The names of its tensors may be those of another head."""
    labels = open_pretrained(f"hf:{checkpoint('bert-labels', tmp_path / 'labels')}")
    tags = open_pretrained(f"hf:{checkpoint('bert-tags', tmp_path / 'tags')}")
    scored = ["task_head/bias", "task_head/table"]
    for pretrained, changes in ((labels, {"outputs": 3}), (tags, {"kind": "labels"})):
        head = dataclasses.replace(pretrained.model.head, **changes)
        matched = match(pretrained, dataclasses.replace(pretrained.model, head=head))
        assert sorted(matched.fresh) == scored and len(matched.left) == 2
    assert not match(labels, labels.model).fresh


def changed(folder: Path, **fields: object) -> Pretrained:
    """The checkpoint with other fields in its config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return open_pretrained(f"hf:{folder}")


def test_what_a_config_leaves_out_is_what_transformers_takes(tmp_path: Path) -> None:
    folder = checkpoint("mistral", tmp_path / "mistral")
    assert changed(folder).model.window == 7
    assert changed(folder, sliding_window=None).model.window is None
    path = folder / "config.json"
    fields = json.loads(path.read_text())
    del fields["sliding_window"]
    path.write_text(json.dumps(fields))
    assert open_pretrained(f"hf:{folder}").model.window == 4096


def test_labels_are_named_by_their_numbers(tmp_path: Path) -> None:
    folder = checkpoint("bert-labels", tmp_path)
    names = {str(n): f"kind {n}" for n in (0, 1, 4, 2, 3)}
    assert changed(folder, id2label=names).labels == tuple(f"kind {n}" for n in range(5))
    assert changed(folder, problem_type="multi_label_classification").task == "several"
    with pytest.raises(ValueError, match=r"id2label must name the labels 0 to 1"):
        changed(folder, id2label={"0": "a", "2": "b"})


def test_sentences_are_pooled_as_their_encoder_says(tmp_path: Path) -> None:
    folder = checkpoint("bert", tmp_path)
    assert changed(folder, architectures=["BertModel"]).model.head.pooling == "mean"
    (folder / "1_Pooling").mkdir()
    path = folder / "1_Pooling" / "config.json"
    path.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}))
    assert open_pretrained(f"hf:{folder}").model.head.pooling == "first"
    path.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ValueError, match="pooling_mode_max_tokens must be pooling_mode_mean"):
        open_pretrained(f"hf:{folder}")


@pytest.mark.parametrize("names", [r"language_model.model.\1", r"model.language_model.\1"])
def test_the_text_of_a_model_that_sees_is_read_alone(names: str, tmp_path: Path) -> None:
    """Its config leaves out what `transformers` takes; other parts are left out, and said so."""
    plain = open_pretrained(f"hf:{checkpoint('gemma3', tmp_path / 'text')}")
    arrays = {re.sub(r"^model\.(.+)", names, n): t for n, t in plain.tensors.items()}
    shapes = {n: t.shape for n, t in arrays.items()} | {"vision_tower.patch.weight": (3, 2)}
    folder = tmp_path / "whole"
    folder.mkdir()

    def array_of(entry: WrittenArray) -> np.ndarray:
        own = arrays.get(entry.name)
        ones = np.ones(entry.shape, np.float32)
        return ones if own is None else own.read(slice(0, own.rows)).reshape(entry.shape)

    entries = [WrittenArray(name, np.dtype("<f4"), shape) for name, shape in shapes.items()]
    write_file(folder / "model.safetensors", entries, array_of)
    text = json.loads((tmp_path / "text" / "config.json").read_text())
    whole = {"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 2}}
    (folder / "config.json").write_text(json.dumps(whole))
    pretrained, said = open_pretrained(f"hf:{folder}"), []
    assert pretrained.model == plain.model
    config = dataclasses.replace(pretrained.model, dtype="float32", attention="xla")
    with jax.set_mesh(mesh_of()):
        model = jax.jit(lambda: config.build(jax.random.key(0)), compiler_options=QUICK)()
        actual = scores(load_weights(model, pretrained, said.append), TOKENS)
    np.testing.assert_allclose(actual, SCORES["gemma3"], atol=2e-5 * np.abs(actual).max())
    assert "weights: left out, as no text is read by them: 1 of vision_tower" in said
    sizes = ("num_attention_heads", "num_key_value_heads", "vocab_size")
    lacking = {**whole, "text_config": {n: own for n, own in text.items() if n not in sizes}}
    (folder / "config.json").write_text(json.dumps(lacking))
    model = open_pretrained(f"hf:{folder}").model
    assert (model.num_heads, model.num_kv_heads, model.vocab_size) == (8, 4, 262_208)


def test_layers_that_do_not_repeat_are_refused(tmp_path: Path) -> None:
    folder, wide, near = checkpoint("gemma2", tmp_path), "full_attention", "sliding_attention"
    assert changed(folder, layer_types=[near, near, wide]).model.global_every == 3
    assert changed(folder, layer_types=[near] * 3).model.global_every is None
    assert changed(folder, layer_types=[wide] * 3).model.window is None
    assert changed(folder, layer_types=[wide, near, near]).model.global_place == "first"
    with pytest.raises(ValueError, match=r"layer_types must be full_attention for the first or"):
        changed(folder, layer_types=[near, wide, wide])


def test_caps_that_a_config_leaves_out_are_those_of_its_kind(tmp_path: Path) -> None:
    folder = checkpoint("gemma2", tmp_path)
    path = folder / "config.json"
    fields = json.loads(path.read_text())
    del fields["attn_logit_softcapping"]
    path.write_text(json.dumps(fields))
    assert changed(folder).model.attention_softcap == 50.0
    assert changed(folder, final_logit_softcapping=None).model.logit_softcap is None


def test_what_a_config_cannot_say_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"model\.qkv_bias=True must be False, because con"):
        config_json(QWEN, "llama", "float32")
    with pytest.raises(UserError, match=r"model\.kind=decoder must be encoder, because a bert"):
        config_json(QWEN, "bert", "float32")
    with pytest.raises(UserError, match=r"but it is none of these:\n  bert: model\.kind="):
        type_of(dataclasses.replace(QWEN, parallel_block=True))


def test_each_kind_is_given_back_as_itself(tmp_path: Path) -> None:
    for kind in MODELS:
        model = open_pretrained(f"hf:{checkpoint(kind, tmp_path / kind)}").model
        assert type_of(model) == MODELS[kind]["config"]["model_type"], kind


def test_targets_begin_with_the_token_that_a_config_names(tmp_path: Path) -> None:
    folder = checkpoint("t5", tmp_path)
    words = {"<pad>": 0, "</s>": 1, **{f"w{n}": n for n in range(2, 68)}}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w2"))
    tokenizer.add_special_tokens(["<pad>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    assert changed(folder, decoder_start_token_id=0).start == 0
    config = adopt(f"hf:{folder}", None)
    tokens: Any = config.data.load_tokenizer()
    assert (tokens.begin.id, tokens.end.id) == (0, 1) and config.preset == tmp_path.name
