"""What released checkpoints have that small random ones do not."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from data.errors import UserError
from launch.pretrained.checkpoint import open_pretrained
from launch.pretrained.export import config_json
from launch.pretrained.load import load_weights
from launch.pretrained.safetensors import WrittenArray, write_file
from model.families.rope_scaling import RopeScaling
from tests.families import QUICK
from tests.models import mesh_of
from tests.oracles.published.models import MODELS, checkpoint, drawn


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("qwen2", {"use_mrope": False}),
        ("llama2", {"pretraining_tp": 2}),
        ("smollm3", {"pretraining_tp": 2}),
        ("gemma2", {"sliding_window_size": 4096}),
        ("phi3", {"auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}}),
    ],
    ids=str,
)
def test_fields_that_change_nothing(kind: str, fields: dict[str, Any], tmp_path: Path) -> None:
    folder = checkpoint(kind, tmp_path)
    before, path = open_pretrained(f"hf:{folder}").model, folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    assert open_pretrained(f"hf:{folder}").model == before


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_norms_of_old_files_are_gamma_and_beta(kind: str, tmp_path: Path) -> None:
    folder = checkpoint(kind, tmp_path)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): (name, tuple(shape))
        for name, shape in MODELS[kind]["shapes"].items()
    }
    assert any(name.endswith("gamma") for name in old)
    entries = [WrittenArray(name, np.dtype("<f4"), shape) for name, (_, shape) in old.items()]
    write_file(folder / "model.safetensors", entries, lambda e: drawn(old[e.name][0], e.shape))
    tensors = open_pretrained(f"hf:{folder}").tensors
    assert tensors.keys() == MODELS[kind]["shapes"].keys()
    assert all(tensor.name == name for name, tensor in tensors.items())


def config_with(kind: str, folder: Path, **fields: Any) -> Any:
    """The architecture of a checkpoint with these fields; what is None is left out."""
    path = checkpoint(kind, folder) / "config.json"
    whole = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({n: own for n, own in whole.items() if own is not None}))
    return open_pretrained(f"hf:{folder}").model


def test_what_a_config_leaves_out_is_what_its_kind_has(tmp_path: Path) -> None:
    """Every layer of a SmolLM3 may turn; YaRN's first length is that of the model."""
    turned = config_with("smollm3", tmp_path / "a", no_rope_layers=[1, 1, 1])
    assert turned.nope_every is None and all(turned.rotated_layers)
    plain = config_with("smollm3", tmp_path / "b", no_rope_layers=None)
    assert plain.rotated_layers == (True, False, True)
    yarn = {"rope_type": "yarn", "factor": 2.0}
    stretched = config_with("qwen3", tmp_path / "c", rope_parameters=yarn)
    assert stretched.rope_scaling.trained_length == stretched.max_length == 40


def test_the_outer_config_says_whether_tables_are_tied(tmp_path: Path) -> None:
    text = json.loads((checkpoint("gemma3", tmp_path) / "config.json").read_text())
    fields = {"model_type": "gemma3", "text_config": text, "tie_word_embeddings": False}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert not open_pretrained(f"hf:{tmp_path}").model.tied_embedding


def test_stretching_that_others_do_not_read_is_refused(tmp_path: Path) -> None:
    phi = open_pretrained(f"hf:{checkpoint('phi3', tmp_path)}").model
    assert config_json(phi, "phi3", "float32")["partial_rotary_factor"] == 0.5
    linear = dataclasses.replace(phi, rope_scaling=RopeScaling(kind="linear", factor=2.0))
    with pytest.raises(UserError, match=r"rope_type='linear' must be 'default', because"):
        config_json(linear, "phi3", "float32")


def test_rows_may_be_longer_than_those_of_the_checkpoint(tmp_path: Path) -> None:
    pretrained, said = open_pretrained(f"hf:{checkpoint('llama2', tmp_path)}"), []
    scaling = RopeScaling(kind="yarn", factor=4.0, trained_length=40)
    config = dataclasses.replace(pretrained.model, rope_scaling=scaling, max_length=160)
    with jax.set_mesh(mesh_of()):
        model = jax.jit(lambda: config.build(jax.random.key(0)), compiler_options=QUICK)()
        load_weights(model, pretrained, said.append)
    assert any(line.startswith("weights: RoPE is stretched otherwise than in") for line in said)
