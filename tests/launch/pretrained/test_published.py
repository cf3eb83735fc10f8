"""Every published kind: its scores are those of `transformers`, on any mesh, and it goes out as it
came in."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.pretrained.checkpoint import Pretrained, open_pretrained
from launch.pretrained.export import export_weights
from launch.pretrained.load import load_weights
from launch.pretrained.safetensors import open_folder
from model.sharding import spec
from tests.families import QUICK
from tests.models import mesh_of
from tests.oracles.published.models import MODELS, SCORES, TOKENS, checkpoint


def loaded(pretrained: Pretrained, **changes: Any) -> Any:
    """The model with its weights, on the current mesh."""
    config = dataclasses.replace(pretrained.model, dtype="float32", attention="xla", **changes)
    model = jax.jit(lambda: config.build(jax.random.key(0)), compiler_options=QUICK)()
    return load_weights(model, pretrained, lambda line: None)


def scores(model: Any, tokens: np.ndarray) -> np.ndarray:
    """Scores of every token, or of the labels, padding of the vocabulary left out."""
    config = model.config
    batch = jax.device_put(tokens, spec("batch", "length"))

    def run(model: Any, tokens: jax.Array) -> jax.Array:
        x = model(tokens)
        head = model.task_head
        if config.head.kind == "labels":
            return head.logits(head(head.pool(x, jnp.ones_like(tokens))))[:, 0]
        if config.head.kind == "tags":
            return head.logits(head(x))
        if config.kind == "decoder":
            return model.logits(x)
        table = model.output_table[...]
        out = jnp.einsum(
            "BTD,VD->BTV", head(x), table, out_sharding=spec("batch", "length", "vocab")
        )
        return out + head.bias[...][None, None]

    whole = np.asarray(jax.jit(run, compiler_options=QUICK)(model, batch))
    return whole if config.head.outputs else whole[..., : config.vocab_size]


@pytest.mark.parametrize("kind", MODELS)
def test_scores_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    pretrained = open_pretrained(f"hf:{checkpoint(kind, tmp_path)}")
    with jax.set_mesh(mesh_of()):
        actual = scores(loaded(pretrained), TOKENS)
    wanted = SCORES[kind]
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", ["llama3", "gpt2", "bert", "modernbert"])
def test_shards_of_a_mesh_are_parts_of_the_same(kind: str, tmp_path: Path) -> None:
    """The vocabulary of 67 is padded so that two shards divide it."""
    pretrained = open_pretrained(f"hf:{checkpoint(kind, tmp_path)}")
    with jax.set_mesh(mesh_of(replica=2, fsdp=2, tensor=2)):
        actual = scores(loaded(pretrained, vocab_multiple=8), np.repeat(TOKENS, 4, 0))
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
