"""Large weights come by whole rows that devices exchange: the numbers are the same."""

from pathlib import Path

import jax
import numpy as np
import pytest

from data.errors import UserError
from launch.pretrained import exchange
from launch.pretrained.checkpoint import open_pretrained
from launch.pretrained.match import match
from model.weights import weights
from tests.launch.pretrained.test_published import loaded
from tests.launch.pretrained.test_refused import rewritten
from tests.models import mesh_of
from tests.oracles.published.models import checkpoint
from train.checkpoint.tree import named_leaves

MESH = {"replica": 2, "fsdp": 2, "tensor": 2}


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every matrix and table is large, and its layers come one by one."""
    monkeypatch.setattr(exchange, "LARGE", 0)
    monkeypatch.setattr(exchange, "GROUP", 1)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("llama3", "F32"),
        ("llama3", "BF16"),
        ("llama3", "F16"),
        ("llama3", "F64"),
        ("gpt2", "BF16"),
        ("bert", "F32"),
        ("phi3", "BF16"),
    ],
)
def test_numbers_are_those_of_each_devices_own_part(
    kind: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of GPT-2 are inputs, and hold three weights; BERT's vocabulary is padded; Phi's tensors
    hold weights of several sizes."""
    pretrained = open_pretrained(f"hf:{checkpoint(kind, tmp_path, dtype)}")
    changes = {"vocab_multiple": 8} if kind == "bert" else {}
    with jax.set_mesh(mesh_of(**MESH)):
        wanted = named_leaves(loaded(pretrained, **changes))
        monkeypatch.setattr(exchange, "LARGE", 0)
        monkeypatch.setattr(exchange, "GROUP", 1)
        actual = named_leaves(loaded(pretrained, **changes))
    for name, array in wanted.items():
        assert actual[name].sharding == array.sharding
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


def test_most_weights_are_exchanged_and_by_layers(large: None, tmp_path: Path) -> None:
    pretrained = open_pretrained(f"hf:{checkpoint('llama3', tmp_path)}")
    places = match(pretrained, pretrained.model).places
    with jax.set_mesh(mesh_of(**MESH)):
        model = pretrained.model.build(jax.random.key(0))
        layouts = {
            weight.name: exchange.row_layout(places[weight.name], weight.layout, MESH)
            for weight in weights(model)
        }
    assert {name for name, layout in layouts.items() if layout is None} == {
        "blocks/attention_norm/scale",
        "blocks/mlp_norm/scale",
        "final_norm/scale",
    }
    layout = layouts["blocks/mlp/w_down"]
    assert layout is not None and layout.group == 1
    assert (layout.row_axes, layout.column_axes) == (("fsdp",), ("tensor",))


def test_numbers_that_are_not_finite_are_counted_over_all_devices(
    large: None, tmp_path: Path
) -> None:
    folder = checkpoint("llama3", tmp_path)

    def harm(arrays: dict[str, np.ndarray]) -> None:
        matrix = arrays["model.layers.1.mlp.up_proj.weight"]
        matrix[0, 0], matrix[-1, 3], matrix[5, -1] = np.nan, np.inf, -np.inf

    rewritten(folder, harm)
    message = r"layers\.1\.mlp\.up_proj\.weight must hold finite.*but 3 are not"
    with jax.set_mesh(mesh_of(**MESH)), pytest.raises(UserError, match=message):
        loaded(open_pretrained(f"hf:{folder}"))
