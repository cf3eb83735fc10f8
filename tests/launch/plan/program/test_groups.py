import itertools
import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.plan.program.groups import Group, group_of, groups_of, turned

MESH = {"replica": 2, "stage": 1, "fsdp": 4, "tensor": 2}


def listed(groups: list[list[int]]) -> str:
    text = ",".join("{" + ",".join(map(str, group)) + "}" for group in groups)
    return f"replica_groups={{{text}}}, dimensions={{0}}"


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    chosen=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_axes_of_every_form_are_those_the_groups_were_cut_along(
    sizes: list[int], chosen: list[bool]
) -> None:
    """The groups of some axes, cut out of the mesh by NumPy, written in all three forms."""
    mesh = {f"axis_{dim}": size for dim, size in enumerate(sizes)}
    inner = [dim for dim in range(len(sizes)) if chosen[dim]]
    outer = [dim for dim in range(len(sizes)) if not chosen[dim]]
    members = math.prod(sizes[dim] for dim in inner)
    places = np.arange(math.prod(sizes)).reshape(sizes)
    groups = places.transpose(outer + inner).reshape(-1, members).tolist()
    wanted = Group(tuple(f"axis_{dim}" for dim in inner if sizes[dim] > 1), members)
    shape, order = ",".join(map(str, sizes)), ",".join(map(str, outer + inner))
    names = ",".join(f"'{name}'={size}" for name, size in mesh.items())
    joined = ",".join(f"'axis_{dim}'" for dim in inner)
    for text in (
        listed(groups),
        f"replica_groups=[{len(groups)},{members}]<=[{shape}]T({order}), dimensions={{0}}",
        f"replica_groups=mesh[{names}] {{{joined}}}, dimensions={{0}}",
    ):
        assert groups_of(text, mesh) == groups
        assert group_of(text, mesh) == wanted


def test_mesh_form_may_order_devices_and_split_axes() -> None:
    ordered = "replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}, to_apply=%add"
    assert groups_of(ordered, MESH) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    each_alone = "replica_groups=mesh['a'=2,'b'=2], device_ids=(0,3,1,2) {'b'}"
    assert groups_of(each_alone, MESH) == [[0, 3], [1, 2]]
    split = "replica_groups=mesh['a'=2,'b'=8] {'a','b':(2)4}"
    assert groups_of(split, MESH)[0] == [0, 1, 2, 3, 8, 9, 10, 11]
    first = "replica_groups=mesh['b'=8] {'b':(1)2}"
    assert groups_of(first, MESH) == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_no_groups_are_all_devices() -> None:
    everything = Group(("replica", "fsdp", "tensor"), 16)
    assert group_of("channel_id=1, replica_groups={}, to_apply=%add", MESH) == everything


def test_groups_along_no_axes_have_none() -> None:
    assert group_of(listed([[0, 1], [2, 4]]), MESH) == Group((), 2)
    assert group_of(listed([[0, 1], [2]]), MESH) == Group((), 2)


def pairs(sent: Iterable[tuple[int, int]]) -> str:
    return "source_target_pairs={" + ",".join(f"{{{a},{b}}}" for a, b in sent) + "}"


def test_permutes_span_all_axes_along_which_any_chip_sends() -> None:
    ring = [(chip, chip - chip % 8 + (chip + 2) % 8) for chip in range(16)]
    assert group_of(pairs(ring), MESH) == Group(("fsdp",), 4)
    both = itertools.chain(ring[:3], [(3, 2), (4, 4)])
    assert group_of(pairs(both), MESH) == Group(("fsdp", "tensor"), 8)
    assert group_of(pairs([(0, 0), (1, 1)]), MESH) == Group((), 1)


@pytest.mark.parametrize("places", [1, 2, -1])
def test_a_ring_is_turned_by_as_many_places_everywhere(places: int) -> None:
    """Along fsdp, of four, whose neighbours are two devices apart."""
    ring = [(chip, chip - chip % 8 + (chip + 2 * places) % 8) for chip in range(16)]
    assert turned(pairs(ring), MESH) == places
    assert turned(pairs(ring[:-1]), MESH) is None
    assert turned(pairs([(chip, chip) for chip in range(16)]), MESH) is None
    both = [(chip, to - to % 2 + (to + 1) % 2) for chip, to in ring]
    assert turned(pairs(both), MESH) is None
    swapped = [(chip, ring[chip - chip % 8][1] if chip % 8 == 6 else to) for chip, to in ring]
    assert turned(pairs(swapped), MESH) is None


def test_unknown_forms_are_refused() -> None:
    with pytest.raises(ValueError, match="replica_groups of the compiled program must be written"):
        groups_of("replica_groups=@mesh0<fsdp>, to_apply=%add", MESH)
