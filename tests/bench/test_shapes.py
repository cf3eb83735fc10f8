import jax
import pytest

from launch.presets.preset import PRESETS, preset
from launch.run.build import fresh_state
from model.flops import parameter_count
from model.sharding import abstract_mesh
from model.weights import weights
from tests.bench.shapes import cut_evenly, table
from tests.command import ROOT
from tests.families import FAMILIES, GPT, PALM, fresh_model
from tests.models import TRAIN, changed, mesh_of
from train.memory import array_bytes
from train.state import TrainState

GOLDEN = ROOT / "tests" / "golden" / "plan_shapes_gpt3_175b.txt"


def shapes_of(name: str, **sizes: int) -> TrainState:
    run = preset(name)
    model = cut_evenly(run.model, 8)
    with jax.sharding.use_abstract_mesh(abstract_mesh(**sizes)):
        return jax.eval_shape(fresh_state(model, run.train))


def test_table_of_gpt3_175b_is_the_golden_one() -> None:
    assert table(shapes_of("gpt3-175b", fsdp=32, tensor=8)) == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PRESETS)
def test_tables_fit_80_columns(name: str) -> None:
    text = table(shapes_of(name, fsdp=8))
    assert max(map(len, text.splitlines())) <= 80
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("family", ["gpt", "llama"])
def test_bytes_are_those_the_devices_hold(family: str) -> None:
    with jax.set_mesh(mesh_of(replica=2, fsdp=2, tensor=2)):
        model = fresh_model(FAMILIES[family])
        rows = weights(model)
    stored = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(model))
    assert 4 * sum(row.device_size for row in rows) == stored == array_bytes(model).device
    assert sum(row.size for row in rows) == parameter_count(FAMILIES[family])
    assert array_bytes(model).total == 4 * parameter_count(FAMILIES[family])


def test_the_average_counts_and_the_optimizer_decides() -> None:
    with jax.sharding.use_abstract_mesh(abstract_mesh(fsdp=2)):
        adamw = jax.eval_shape(fresh_state(GPT, changed(TRAIN, ema_decay=0.9)))
        lion = jax.eval_shape(fresh_state(PALM, changed(TRAIN, name="lion")))
    assert array_bytes(adamw.optimizer).total == 8 * parameter_count(GPT) + 4
    assert array_bytes(lion.optimizer).total == 4 * parameter_count(PALM) + 4
    assert array_bytes(adamw).device == 4 * array_bytes(adamw.model).device + 8
    assert "moving average" in table(adamw)
    assert "moving average" not in table(lion)
