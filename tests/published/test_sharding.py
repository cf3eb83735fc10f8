from pathlib import Path

import jax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.models import mesh_of
from tests.published.sharding import cells, draw, matrices


@pytest.mark.parametrize(
    "layout",
    [PartitionSpec("fsdp", "tensor"), PartitionSpec("tensor", "fsdp"), PartitionSpec("fsdp", None)],
)
def test_cells_name_the_devices_that_hold_them(layout: PartitionSpec) -> None:
    mesh = mesh_of(fsdp=2, tensor=2)
    blocks = [1 if axis is None else 2 for axis in layout]
    tiles: dict[tuple[int, int], list[int]] = {}
    for device, index in NamedSharding(mesh, layout).devices_indices_map((4, 4)).items():
        place = [part.indices(4)[0] * n // 4 for part, n in zip(index, blocks, strict=True)]
        tiles.setdefault((place[0], place[1]), []).append(device.id)
    assert cells(layout) == tiles
    assert mesh.devices.flatten().tolist() == jax.devices()[:4]


def test_every_matrix_of_a_block_is_cut_both_ways() -> None:
    layouts = matrices()
    assert set(layouts) == {"w_q", "w_k", "w_v", "w_o", "w_up", "w_gate", "w_down"}
    for name, layout in layouts.items():
        wide = PartitionSpec("fsdp", "tensor")
        assert layout == (PartitionSpec("tensor", "fsdp") if name in ("w_o", "w_down") else wide)


def test_the_picture_is_written(tmp_path: Path) -> None:
    draw(tmp_path / "sharding.png")
    assert (tmp_path / "sharding.png").read_bytes().startswith(b"\x89PNG")
