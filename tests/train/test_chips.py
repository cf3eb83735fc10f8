import pytest

from launch.plan.compile_step import GPUS
from train.chips import CHIPS, Chip


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
def test_figures_have_the_size_of_their_unit(chip: Chip) -> None:
    """A bit for a byte, GiB/s for GB/s, or a link for all links would leave these bounds."""
    ordered = (chip.network_bandwidth, chip.link_bandwidth, chip.memory_bandwidth)
    assert ordered == tuple(sorted(ordered))
    assert 100 < chip.matmul_flops / chip.memory_bandwidth < 700
    assert 8 * 2**30 < chip.memory < 256 * 2**30
    assert chip.source


@pytest.mark.parametrize(
    ("name", "dimensions", "both_ways"),
    [("v5e", 2, 400e9), ("v5p", 3, 1200e9), ("v6e", 2, 800e9), ("tpu7x", 3, 1200e9)],
)
def test_links_add_up_to_the_bandwidth_the_vendor_gives_a_chip(
    name: str, dimensions: int, both_ways: float
) -> None:
    chip = CHIPS[name]
    assert chip.torus == dimensions
    assert chip.link_bandwidth * 2 * chip.torus * 2 == both_ways


def test_cuda_gives_no_more_memory_than_a_gpu_has() -> None:
    gpus = {name for name, chip in CHIPS.items() if chip.platform == "gpu"}
    assert gpus == GPUS.keys()
    for name, gpu in GPUS.items():
        assert 0.97 * CHIPS[name].memory < int(gpu["device_memory_size"]) <= CHIPS[name].memory, (
            name
        )
