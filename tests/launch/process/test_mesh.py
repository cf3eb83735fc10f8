import re

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.config import MeshConfig
from launch.process.mesh import axis_sizes, make_mesh
from model.sharding import AXES
from tests.advice import followed


@given(replica=st.integers(1, 8), fsdp=st.integers(1, 8), tensor=st.integers(1, 8))
def test_minus_1_fills_any_axis(replica: int, fsdp: int, tensor: int) -> None:
    sizes = {"replica": replica, "fsdp": fsdp, "tensor": tensor}
    for name in sizes:
        config = MeshConfig(**{**sizes, name: -1})
        sizes = axis_sizes(config, replica * fsdp * tensor)
        assert sizes == {**dict.fromkeys(AXES, 1), **sizes}


def test_mesh_has_every_axis_in_order_and_is_explicit() -> None:
    mesh = make_mesh(MeshConfig(replica=2, fsdp=-1, tensor=2))
    assert mesh.axis_names == AXES
    assert mesh.devices.shape == (2, 1, 2, 1, 1, 2)
    assert set(mesh.axis_types) == {jax.sharding.AxisType.Explicit}
    assert sorted(d.id for d in mesh.devices.flat) == [d.id for d in jax.devices()]


def test_mesh_over_some_devices() -> None:
    chosen = jax.devices()[5:7]
    assert make_mesh(MeshConfig(), chosen).devices.flatten().tolist() == chosen


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (MeshConfig(stage=2), r"mesh\.stage=2 must be 1, because .*`stage` is not implemented"),
        (MeshConfig(expert=2), r"mesh\.expert=2 must be 1"),
        (MeshConfig(context=-1, fsdp=8), r"mesh\.context=-1 must be 1"),
        (MeshConfig(tensor=0), r"mesh\.tensor=0 must be at least 1"),
        (MeshConfig(replica=-2), r"mesh\.replica=-2 must be at least 1"),
        (MeshConfig(tensor=-1), r"mesh\.tensor=-1 must be a size.*mesh\.fsdp=-1"),
        (
            MeshConfig(tensor=3),
            r"mesh tensor 3 must divide the number of devices, 8.*, or JAX_NUM_CPU_DEVICES=3",
        ),
        (
            MeshConfig(fsdp=4),
            r"mesh fsdp 4 must multiply to .* 8, .* multiplies to 4; try --mesh.fsdp 8",
        ),
        (MeshConfig(fsdp=16), r"multiplies to 16; try --mesh.fsdp 8 .*, or JAX_NUM_CPU_DEVICES=16"),
        (MeshConfig(fsdp=3, tensor=4), r"try --mesh.fsdp 2 --mesh.tensor 4 --mesh.replica 1"),
        (MeshConfig(fsdp=1), r"mesh of one device must multiply to .* 8"),
    ],
)
def test_mesh_that_does_not_fit_is_refused(config: MeshConfig, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_mesh(config)


@given(
    devices=st.integers(1, 64),
    slices=st.integers(1, 4),
    sizes=st.lists(st.integers(-2, 17), min_size=6, max_size=6),
    virtual=st.booleans(),
)
def test_every_mesh_that_is_advised_fits(
    devices: int, slices: int, sizes: list[int], virtual: bool
) -> None:
    def read(words: list[str]) -> dict[str, int]:
        return axis_sizes(read_mesh(words), devices * slices, virtual=virtual, slices=slices)

    words = [f"--mesh.{axis}={size}" for axis, size in zip(AXES, sizes, strict=True)]
    messages = followed(read, words, most=8)
    whole = [re.search("try --mesh.fsdp .* --mesh.replica", message) for message in messages]
    assert not any(whole[:-1]), "a whole mesh is taken at once"


def read_mesh(words: list[str]) -> MeshConfig:
    """The mesh of these flags."""
    flags = re.findall(r"--mesh\.(\w+)[ =](\S+)", " ".join(words))
    return MeshConfig(**{axis: int(size) for axis, size in flags})
