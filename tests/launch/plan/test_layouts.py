"""Layouts of a run on chips that are not there."""

import dataclasses
import math

import jax
import pytest

from launch.config import RunConfig
from launch.plan.layouts import flags, layouts
from launch.plan.topology import Topology
from launch.plan.topology import parse as parse_topology
from launch.presets.preset import preset
from launch.run import build
from launch.schema.command_line import parse
from model.sharding import abstract_mesh
from train.chips import CHIPS

TWELVE = Topology(CHIPS["v5e"], (12, 1))


def small(**changes: int) -> RunConfig:
    """`tiny` of 6 heads, width 96 and 24 rows a batch."""
    tiny = preset("tiny")
    sizes = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 16, "embed_dim": 96, "mlp_dim": 384}
    model = dataclasses.replace(tiny.model, **sizes, num_layers=1)
    train = dataclasses.replace(tiny.train, **{"batch_size": 24, **changes})
    return dataclasses.replace(tiny, model=model, train=train)


def axes(config: RunConfig) -> tuple[int, int, int]:
    return config.mesh.replica, config.mesh.fsdp, config.mesh.tensor


def test_meshes_are_all_that_the_train_step_can_be_traced_on() -> None:
    config = small()
    traced = set()
    for replica in range(1, 13):
        for fsdp in (n for n in range(1, 13) if 12 % (replica * n) == 0):
            tensor = 12 // replica // fsdp
            sizes = (replica, fsdp, tensor)
            model = dataclasses.replace(config.model, vocab_multiple=math.lcm(8, tensor))
            with jax.sharding.use_abstract_mesh(
                abstract_mesh(replica=replica, fsdp=fsdp, tensor=tensor)
            ):
                try:
                    build.check_batch(config.train, 128, model)
                    jax.eval_shape(build.fresh_state(model, config.train))
                except ValueError:
                    continue
            traced.add(sizes)
    assert traced == {axes(every) for every in layouts(config, TWELVE)}
    assert (2, 3, 2) in traced and (1, 1, 12) not in traced


def test_micro_batches_and_remat_come_in_every_way() -> None:
    every = [c for c in layouts(small(), TWELVE) if axes(c) == (2, 3, 2)]
    ways = {(c.train.accumulation, c.model.remat) for c in every}
    assert ways == {(n, remat) for n in (1, 2, 4) for remat in ("none", "dots", "full")}
    assert len(ways) == len(every)


def test_slices_are_joined_by_replica() -> None:
    every = {axes(config) for config in layouts(small(), TWELVE._replace(shape=(6, 1), slices=2))}
    assert every and all(replica % 2 == 0 for replica, _, _ in every)
    assert not any(tensor > 6 for _, _, tensor in every)


def test_the_vocabulary_is_padded_where_tensor_does_not_divide_it() -> None:
    config = small()
    padded = {c.mesh.tensor: c.model.table_rows for c in layouts(config, TWELVE)}
    assert padded[1] == padded[2] == config.model.table_rows == 264
    assert padded[3] == 264 and padded[6] == 264
    wide = dataclasses.replace(config.model, vocab_multiple=1)
    padded = {
        c.mesh.tensor: c.model.table_rows
        for c in layouts(dataclasses.replace(config, model=wide), TWELVE)
    }
    assert padded[1] == 257 and padded[6] == 384


def test_flags_of_a_layout_make_it_again() -> None:
    config = small()
    for chosen in list(layouts(config, TWELVE))[::25]:
        again = parse(
            RunConfig, flags(chosen, config).split(), prog="x", description="", default=config
        )
        assert again == chosen


def test_a_batch_that_cannot_be_cut_names_another_that_can() -> None:
    with pytest.raises(
        ValueError, match=r"batch_size=1920 must .* of 2240, .*--train.batch-size 1960"
    ):
        list(layouts(preset("mt-nlg-530b"), parse_topology("a100x2240")))
