import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from launch.config import MeshConfig
from launch.plan.placement import GroupSpan, place
from launch.process.mesh import make_mesh
from model.sharding import AXES
from tests.published.case import cube
from train.chips import CHIPS, Chip

V5P, V5E, H100 = CHIPS["v5p"], CHIPS["v5e"], CHIPS["h100"]


def spans(chip, shape=(), **sizes: int) -> dict[str, GroupSpan]:
    shape = shape or torus_of(chip, sizes)
    return {axis: place(chip, sizes, shape).joined((axis,)) for axis in sizes}


def torus_of(chip: Chip, sizes: dict[str, int]) -> tuple[int, ...]:
    return cube(chip, math.prod(sizes.values())) if chip.torus else ()


@pytest.mark.parametrize(
    ("chips", "shape"),
    [(64, (4, 4, 4)), (128, (4, 4, 8)), (512, (8, 8, 8)), (2048, (8, 16, 16)), (8, (2, 2, 2))],
)
def test_a_slice_is_as_near_to_a_cube_as_the_vendors(chips: int, shape: tuple[int, ...]) -> None:
    assert cube(V5P, chips) == shape
    assert cube(V5E, 256) == (16, 16)


def test_an_axis_takes_whole_sides_of_the_torus_as_rings() -> None:
    assert spans(V5P, (8, 8, 8), fsdp=64, tensor=8) == {"fsdp": (64, 1, 4), "tensor": (8, 1, 2)}
    assert spans(V5E, (16, 16), fsdp=256) == {"fsdp": (256, 1, 4)}


def test_a_part_of_a_side_is_a_line_and_so_is_a_side_that_does_not_close() -> None:
    assert spans(V5P, (8, 8, 8), fsdp=128, tensor=4)["tensor"] == (4, 1, 1)
    assert spans(V5P, (2, 2, 2), fsdp=8) == {"fsdp": (8, 1, 3)}
    assert spans(V5E, (8, 8), fsdp=8, tensor=8) == {"fsdp": (8, 1, 1), "tensor": (8, 1, 1)}


def test_axes_share_the_links_of_a_side_that_they_cut() -> None:
    """Of 8 x 8 x 8 the tensor axis takes half of a side or less, on a line; the others what is
    left of it, and two whole sides."""
    halved = spans(V5P, (8, 8, 8), fsdp=128, tensor=4)
    assert halved == {"fsdp": (128, 1, 2 + 2 + 1), "tensor": (4, 1, 1)}
    thrice = place(V5P, {"replica": 2, "fsdp": 128, "tensor": 2}, (8, 8, 8))
    shares = [thrice.joined((axis,)).links for axis in ("replica", "fsdp", "tensor")]
    assert shares == pytest.approx([2 / 3, 2 + 2 + 2 / 3, 2 / 3])
    mixed = spans(V5P, (4, 4, 4), replica=2, fsdp=8, tensor=4)
    assert [mixed[axis].links for axis in ("replica", "fsdp", "tensor")] == [1, 3, 2]


@given(
    data=st.data(), where=st.sampled_from([(V5P, (4, 4, 4)), (V5P, (8, 12, 20)), (V5E, (16, 8))])
)
def test_axes_use_no_more_links_than_a_chip_has(
    data: st.DataObject, where: tuple[Chip, tuple[int, ...]]
) -> None:
    chip, shape = where
    sizes: dict[str, int] = dict.fromkeys(AXES, 1)
    left = math.prod(shape)
    for prime in (2, 3, 5):
        while left % prime == 0:
            sizes[data.draw(st.sampled_from(AXES))] *= prime
            left //= prime
    placement = place(chip, sizes, shape)
    links = [placement.joined((axis,)).links for axis in AXES if sizes[axis] > 1]
    assert sum(links) <= 2 * chip.torus + 1e-9
    assert sum(links) == pytest.approx(placement.joined(()).links)
    assert min(links) > 0


def test_the_slowest_axes_cross_the_network() -> None:
    two = spans(V5P, (4, 4, 4), replica=2, fsdp=16, tensor=4)
    assert two == {"replica": (1, 2, 1), "fsdp": (16, 1, 4), "tensor": (4, 1, 2)}
    assert spans(H100, replica=2, fsdp=8, tensor=8) == {
        "replica": (1, 2, 1),
        "fsdp": (1, 8, 1),
        "tensor": (8, 1, 1),
    }


def test_an_axis_may_begin_inside_a_node_and_go_on_over_the_network() -> None:
    assert spans(H100, fsdp=32, tensor=4) == {"fsdp": (2, 16, 1), "tensor": (4, 1, 1)}
    assert spans(V5P, (4, 4, 4), fsdp=128) == {"fsdp": (64, 2, 6)}


def test_axes_together_use_the_links_of_both_but_nvlink_once() -> None:
    torus = place(V5P, {"fsdp": 64, "tensor": 8}, (8, 8, 8))
    assert torus.joined(("fsdp", "tensor")) == torus.joined(()) == (512, 1, 6)
    node = place(H100, {"replica": 4, "fsdp": 2, "tensor": 4})
    assert node.joined(("replica", "fsdp")) == (2, 4, 1)
    assert node.joined(("fsdp", "tensor")) == (8, 1, 1)


@given(
    powers=st.tuples(*(st.integers(0, 4) for _ in range(3))),
    name=st.sampled_from(["v5p", "v5e", "h100"]),
)
def test_every_chip_has_a_place_of_its_own(powers: tuple[int, ...], name: str) -> None:
    replica, fsdp, tensor = (2**n for n in powers)
    sizes = {"replica": replica, "fsdp": fsdp, "tensor": tensor}
    placement = place(CHIPS[name], sizes, torus_of(CHIPS[name], sizes))
    result = {axis: placement.joined((axis,)) for axis in AXES}
    domain = math.prod(span.inner for span in result.values())
    assert domain == (
        min(8, math.prod(sizes.values())) if name == "h100" else math.prod(sizes.values())
    )
    for axis, span in result.items():
        assert span.inner * span.outer == sizes.get(axis, 1)
        assert 0 < span.links <= 2 * max(1, CHIPS[name].torus)


def test_an_axis_that_does_not_divide_a_node_is_as_slow_as_its_worst_group() -> None:
    """Of 24 GPUs {6, 7, 8} lie in two nodes, one of them alone; {0, 12} and {0, 3, 6, 9, ..}."""
    assert spans(H100, replica=8, fsdp=3) == {"replica": (2, 3, 1), "fsdp": (1, 2, 1)}
    assert spans(H100, replica=2, fsdp=12) == {"replica": (1, 2, 1), "fsdp": (4, 2, 1)}
    assert place(H100, {"replica": 8, "fsdp": 3}).joined(("replica", "fsdp")) == (8, 3, 1)


@dataclass(frozen=True)
class Gpu:
    """What a mesh asks of a device; those of a node follow each other."""

    id: int
    platform: str = "gpu"
    device_kind: str = "NVIDIA H100"


@given(
    sizes=st.fixed_dictionaries(
        {axis: st.sampled_from([1, 2, 3, 4, 5, 8, 12]) for axis in ("replica", "fsdp", "tensor")}
    ),
    axes=st.sets(st.sampled_from(["replica", "fsdp", "tensor"]), min_size=1),
)
def test_groups_of_gpus_lie_where_the_mesh_puts_them(sizes: dict[str, int], axes: set[str]) -> None:
    chips = math.prod(sizes.values())
    assume(chips < 8 or chips % 8 == 0)
    gpus: list[Any] = [Gpu(number) for number in range(chips)]
    mesh = make_mesh(MeshConfig(**sizes), gpus).devices
    groups: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for at in np.ndindex(mesh.shape):
        others = (place for axis, place in zip(AXES, at, strict=True) if axis not in axes)
        gpu: Any = mesh[at]
        groups[*others][gpu.id // 8] += 1
    span = place(H100, sizes).joined(tuple(axis for axis in AXES if axis in axes))
    assert span.inner == min(min(nodes.values()) for nodes in groups.values())
    assert span.outer == max(map(len, groups.values()))


def test_a_mesh_that_leaves_chips_of_a_slice_idle_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mesh of 96 chips must fill slices of 4x4x4 64 chips"):
        place(V5P, {"fsdp": 96}, (4, 4, 4))
    with pytest.raises(ValueError, match="nodes of 8 chips"):
        place(H100, {"fsdp": 12})
