import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.plan.chips import CHIPS
from launch.plan.placement import Span, cube, place

V5P, V5E, H100 = CHIPS["v5p"], CHIPS["v5e"], CHIPS["h100"]


def spans(chip, shape=(), **sizes: int) -> dict[str, Span]:
    return {axis: place(chip, sizes, shape).spans[axis] for axis in sizes}


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
def test_every_chip_has_one_place(powers: tuple[int, ...], name: str) -> None:
    replica, fsdp, tensor = (2**n for n in powers)
    sizes = {"replica": replica, "fsdp": fsdp, "tensor": tensor}
    placement = place(CHIPS[name], sizes)
    domain = math.prod(span.inner for span in placement.spans.values())
    assert domain == (
        min(8, math.prod(sizes.values())) if name == "h100" else math.prod(sizes.values())
    )
    for axis, span in placement.spans.items():
        assert span.inner * span.outer == sizes.get(axis, 1)
        assert 1 <= span.links <= placement.links


def test_a_mesh_that_leaves_chips_of_a_slice_idle_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mesh of 96 chips must fill slices of 4x4x4 64 chips"):
        place(V5P, {"fsdp": 96}, (4, 4, 4))
    with pytest.raises(ValueError, match="nodes of 8 chips"):
        place(H100, {"fsdp": 12})
