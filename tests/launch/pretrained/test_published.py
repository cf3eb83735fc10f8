"""Every published kind: its scores are those of `transformers`, on any mesh, and it goes out as it
came in."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from launch.pretrained.checkpoint import Pretrained, open_pretrained
from launch.pretrained.export import export_weights
from launch.pretrained.load import load_weights
from launch.pretrained.safetensors import open_folder
from launch.pretrained.verify import scores
from launch.run.export import type_of
from tests.families import QUICK
from tests.models import mesh_of
from tests.oracles.published.models import MODELS, SCORES, TOKENS, checkpoint


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


@pytest.mark.parametrize("kind", ["llama3", "gpt2", "bert", "modernbert"])
def test_shards_of_a_mesh_are_parts_of_the_same(kind: str, tmp_path: Path) -> None:
    """The vocabulary of 68 of an encoder is padded to 72."""
    changes = {"vocab_multiple": 8} if "bert" in kind else {}
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
        model = loaded(pretrained, **({"vocab_multiple": 8} if "bert" in kind else {}))
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


def test_tokens_that_only_pad_take_no_part(tmp_path: Path) -> None:
    """Padded to 128 and cut in four, the last shard has padding alone; decoders are refused."""
    pretrained = open_pretrained(f"hf:{checkpoint('bert', tmp_path / 'bert')}")
    with jax.set_mesh(mesh_of(fsdp=2, tensor=4)):
        model = loaded(pretrained, vocab_multiple=128)
        bias = np.asarray(model.task_head.bias[...])
        assert (np.asarray(model.embedding.table[...])[68:] == 0).all()
    assert (bias[68:] < -1e8).all() and np.abs(bias[:68]).max() < 10
    llama = open_pretrained(f"hf:{checkpoint('llama2', tmp_path / 'llama')}")
    with jax.set_mesh(mesh_of()), pytest.raises(ValueError, match=r"vocab_multiple=8 must divide"):
        loaded(llama, vocab_multiple=8)


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


def test_each_kind_is_given_back_as_itself(tmp_path: Path) -> None:
    for kind in MODELS:
        model = open_pretrained(f"hf:{checkpoint(kind, tmp_path / kind)}").model
        assert type_of(model) == MODELS[kind]["config"]["model_type"], kind
