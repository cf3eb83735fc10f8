import subprocess
import sys

import jax
import numpy as np

from model.sharding import uncut
from model.weights import weights, weights_of
from tests.command import ROOT
from tests.families import GPT, LLAMA, QUICK
from tests.models import mesh_of


def test_listing_declares_what_building_makes() -> None:
    listed = weights_of(LLAMA)
    with jax.set_mesh(mesh_of()):
        built = jax.jit(LLAMA.build, compiler_options=QUICK)(jax.random.key(0))
    assert weights(built) == list(listed)
    for leaf, weight in zip(jax.tree.leaves(built), listed, strict=True):
        assert leaf.size == weight.size == weight.device_size
        assert np.asarray(leaf).any(), f"{weight.name} was listed, not built"


def test_what_was_traced_to_be_listed_is_not_taken_for_building() -> None:
    with uncut():
        weights_of(LLAMA)
        key = jax.eval_shape(jax.random.key, 0)
        jaxpr = jax.jit(LLAMA.build).trace(key).jaxpr
    assert "random_bits" in str(jaxpr), "nothing is drawn"


def test_what_a_weight_is_follows_from_what_it_sums_over_and_produces() -> None:
    by_name = {weight.name: weight for weight in weights_of(GPT)}
    matrix, table = by_name["blocks/attention/w_o"], by_name["position_table/table"]
    assert (matrix.is_matrix, matrix.is_table, matrix.stacked, matrix.layers) == (1, 0, 1, 2)
    assert (table.is_matrix, table.is_table, table.stacked, table.layers) == (0, 1, 0, 1)
    assert matrix.channels(matrix.fan_in) == 8 * 4 and matrix.channels(matrix.fan_out) == 16
    assert matrix.local({"tensor": 4, "fsdp": 2}, "tensor") == 8 * 4 * 16 // 4
    assert matrix.local({"tensor": 4, "fsdp": 2}, "fsdp") == 8 * 4 * 16 // 2
    bias = by_name["blocks/mlp/b_up"]
    assert not bias.is_matrix and not bias.is_table


LISTED = """
from launch.presets.preset import preset
from model.weights import weights_of
from jax._src import xla_bridge
weights_of(preset("llama3-405b").model)
print(xla_bridge.backends_are_initialized())
"""


def test_listing_asks_no_device() -> None:
    command = [sys.executable, "-c", LISTED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
