import dataclasses

import pytest

from launch.plan.estimate import advice, enough, smallest
from launch.plan.layouts import layouts
from launch.plan.topology import Topology, parse
from launch.presets.preset import preset
from train.chips import CHIPS
from train.memory import step_memory
from train.report.numbers import GIB


def test_a_layout_fits_on_those_chips_and_none_on_fewer() -> None:
    run, chip = preset("llama3-70b"), CHIPS["v5p"]
    room = 80 * GIB
    best = enough(run, chip, room, beyond=4)
    assert best is not None and best.bytes <= room
    fewer = [n for n in (8, 16, 32, 64) if n < best.topology.chips]
    for chips in fewer:
        for layout in layouts(run, Topology(chip, (chips, 1, 1))):
            mesh = dataclasses.asdict(layout.mesh)
            memory = step_memory(
                layout.model, layout.train, run.data.sequence_length, mesh, chip.platform
            )
            assert memory.total > room
    assert fewer and enough(run, chip, room, beyond=best.topology.chips) != best


def test_a_batch_that_cannot_be_cut_is_replaced_by_another_that_can() -> None:
    run = preset("llama3-8b")
    odd = dataclasses.replace(run, train=dataclasses.replace(run.train, batch_size=1021))
    best = smallest(odd, parse("v5p-128"))
    assert best.config.train.batch_size == 1024
    assert "--train.batch-size 1024" in advice(odd, CHIPS["v5p"], best.bytes, beyond=32)


def test_where_a_row_takes_more_than_a_device_has_no_number_would_do() -> None:
    assert advice(preset("llama3-405b"), CHIPS["v5e"], 15 * GIB, beyond=128).startswith(
        "try chips with more memory"
    )


@pytest.mark.parametrize("on", ["2xv4-6144", "h200x64", "tpu7x-8"])
def test_every_kind_of_topology_has_a_smallest_layout(on: str) -> None:
    best = smallest(preset("gpt3-1.3b"), parse(on))
    mesh = best.config.mesh
    assert mesh.replica * mesh.fsdp * mesh.tensor == parse(on).devices
    assert best.bytes > 0
