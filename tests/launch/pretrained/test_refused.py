"""Checkpoints that cannot be what they say: each is refused by name, and nothing is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from data.errors import UserError
from launch.pretrained.checkpoint import open_pretrained
from launch.pretrained.export import export_weights
from launch.pretrained.match import match
from launch.pretrained.safetensors import WrittenArray, open_file, write_file
from tests.launch.pretrained.test_published import loaded
from tests.models import mesh_of
from tests.oracles.published.models import checkpoint

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def changed(folder: Path, **fields: object) -> None:
    """Change fields of its config.json; None removes one."""
    path = folder / "config.json"
    values = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: v for name, v in values.items() if v is not None}))


def rewritten(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Change the tensors of its file."""
    path = folder / WEIGHTS
    arrays = {n: t.read(slice(0, t.rows)).reshape(t.shape) for n, t in open_file(path).items()}
    change(arrays)
    entries = [WrittenArray(name, array.dtype, array.shape) for name, array in arrays.items()]
    write_file(path, entries, lambda entry: arrays[entry.name])


def indexed(folder: Path, places: dict[str, str]) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))


def overflow(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((2**40).to_bytes(8, "little") + b"{}")


def cut_off(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-4])


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")


def nan(arrays: dict[str, np.ndarray]) -> None:
    arrays["model.norm.weight"][3] = np.nan


def wide(arrays: dict[str, np.ndarray]) -> None:
    arrays["model.norm.weight"] = np.ones(33, np.float32)


REFUSED = {
    "another kind": (
        lambda f: changed(f, model_type="mamba"),
        r"model_type='mamba' must be one of bert, convnext, dinov2",
    ),
    "unknown field": (
        lambda f: changed(f, residual_multiplier=0.5),
        r"known fields only.*it has residual_multiplier=0\.5",
    ),
    "a field that is false": (
        lambda f: changed(f, is_causal=False),
        r"known fields only.*it has is_causal=False",
    ),
    "code of its own": (
        lambda f: changed(f, auto_map={"a": "b"}, architectures=["OwnForCausalLM"]),
        r"it has auto_map=",
    ),
    "another stretching": (
        lambda f: changed(f, rope_parameters={"rope_type": "longrope", "short_factor": [1.0]}),
        r"rope_type='longrope' must be one of default, linear, llama3, yarn, with fields",
    ),
    "a factor of its own": (
        lambda f: changed(f, rope_scaling={"type": "yarn", "mscale": 0.7}, rope_parameters=None),
        r"rope_type='yarn' must be .*with fields that are known.*'mscale': 0\.7",
    ),
    "another activation": (
        lambda f: changed(f, hidden_act="gelu"),
        r"hidden_act='gelu' must be 'silu'",
    ),
    "no size": (lambda f: changed(f, hidden_size=None), r"hidden_size must be a whole number"),
    "no config": (lambda f: (f / "config.json").unlink(), r"a folder with a config\.json"),
    "missing": (
        lambda f: rewritten(f, lambda a: a.pop("model.layers.1.mlp.up_proj.weight")),
        r"but 1 tensors are missing: layers\.1\.mlp\.up_proj\.weight; it has 29 others",
    ),
    "extra": (
        lambda f: rewritten(f, lambda a: a.update(strange=np.ones(2, np.float32))),
        r"but 1 have no name here: strange",
    ),
    "shape": (
        lambda f: rewritten(f, wide),
        r"model\.norm\.weight must have the shape \(32,\).*but it has \(33,\)",
    ),
    "not a number": (lambda f: rewritten(f, nan), r"norm\.weight must hold finite.*but 1 are not"),
    "cut off": (cut_off, r"must have [\d,]+ bytes, because .* ends there, but it has"),
    "a header of a terabyte": (overflow, r"length of its header.*but that is 1,099,511,627,776"),
    "a pickle": (pickled, r"pytorch_model\.bin is a pickle, which can run any program"),
    "a way out": (lambda f: indexed(f, {"a": "../a.safetensors"}), r"must name files next to it"),
    "a lost file": (lambda f: indexed(f, {"a": "b.safetensors"}), r"but b\.safetensors is not"),
    "a lost tensor": (lambda f: indexed(f, {"a": WEIGHTS}), r"but 1 are in none: a"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_named(name: str, tmp_path: Path) -> None:
    folder = checkpoint("llama2", tmp_path)
    harm, message = REFUSED[name]
    harm(folder)
    with jax.set_mesh(mesh_of()), pytest.raises(UserError, match=message):
        loaded(open_pretrained(f"hf:{folder}"))


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    llama = open_pretrained(f"hf:{checkpoint('llama2', tmp_path / 'llama')}")
    other = open_pretrained(f"hf:{checkpoint('smollm2', tmp_path / 'smollm2')}")
    with pytest.raises(
        UserError, match=r"model\.tied_embedding=True must be False, because .*llama"
    ):
        match(llama, other.model)


def test_a_second_copy_of_a_tied_table_has_no_use(tmp_path: Path) -> None:
    folder = checkpoint("smollm2", tmp_path)
    table = "model.embed_tokens.weight"
    rewritten(folder, lambda arrays: arrays.update({"lm_head.weight": arrays[table]}))
    pretrained = open_pretrained(f"hf:{folder}")
    assert match(pretrained, pretrained.model).left == ["lm_head.weight"]


def test_what_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    folder = checkpoint("llama2", tmp_path / "in")

    def large(arrays: dict[str, np.ndarray]) -> None:
        arrays["model.norm.weight"][0] = 1e5

    rewritten(folder, large)
    with jax.set_mesh(mesh_of()):
        model = loaded(open_pretrained(f"hf:{folder}"))
        with pytest.raises(
            UserError, match=r"dtype=float16 must hold.*norm\.weight goes up to 1e\+05"
        ):
            export_weights(model, tmp_path / "out", "llama", "float16")
    shutil.rmtree(tmp_path / "out")
