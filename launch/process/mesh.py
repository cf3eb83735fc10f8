"""MeshConfig to a jax Mesh: six explicit axes, in the order of the network, slowest first."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from data.errors import UserError
from launch.config import MOST_VIRTUAL, MeshConfig
from launch.process.typed import launched

IMPLEMENTED = ("replica", "fsdp", "tensor")


def axis_sizes(
    config: MeshConfig, num_devices: int, *, virtual: bool = False, slices: int = 1
) -> dict[str, int]:
    """Size of every axis over `num_devices` in `slices`, with a -1 filled in; of `virtual` ones
    there can be more.

    Raises ValueError on an axis that is not implemented above size 1, on sizes below 1, on two -1,
    on a product that is not the number of devices, and on replicas that are no whole slices.
    """
    sizes = dataclasses.asdict(config)
    for name, size in sizes.items():
        if size < 1 and size != -1:
            raise UserError(
                f"mesh.{name}={size} must be at least 1, or -1 to take the devices that are left, "
                f"because it counts devices; try --mesh.{name} 1"
            )
        if size != 1 and name not in IMPLEMENTED:
            raise UserError(
                f"mesh.{name}={size} must be 1, because parallelism over `{name}` is not "
                f"implemented yet, only over {', '.join(IMPLEMENTED)}; try --mesh.{name} 1"
            )
    open_axes = [name for name, size in sizes.items() if size == -1]
    if len(open_axes) > 1:
        raise UserError(
            f"mesh.{open_axes[1]}=-1 must be a size, because mesh.{open_axes[0]}=-1 already "
            f"takes the devices that are left; try --mesh.{open_axes[1]} 1"
        )
    fixed = math.prod(size for size in sizes.values() if size != -1)
    more = ""
    if virtual and fixed <= MOST_VIRTUAL:
        more = f", or JAX_NUM_CPU_DEVICES={fixed} before the command"
    fits = _suggestion(sizes, num_devices, slices)
    if open_axes:
        if num_devices % fixed:
            taken = shown({name: size for name, size in sizes.items() if size != -1})
            raise UserError(
                f"mesh {taken} must divide the number of devices, {num_devices}, because "
                f"mesh.{open_axes[0]}=-1 takes the rest and {num_devices} / {fixed} is not whole; "
                f"try {fits}{more}"
            )
        sizes[open_axes[0]] = num_devices // fixed
    elif fixed != num_devices:
        raise UserError(
            f"mesh {shown(sizes)} must multiply to the number of devices, {num_devices}, because "
            f"every device has one place in it, but it multiplies to {fixed}; "
            f"try {fits}{more}"
        )
    if sizes["replica"] % slices:
        raise UserError(
            f"mesh.replica={sizes['replica']} must be a multiple of {slices}, because the devices "
            f"are in {slices} slices and only replicas are far apart; try {fits}"
        )
    return sizes


def make_mesh(
    config: MeshConfig,
    devices: Sequence[jax.Device] | None = None,  # pyright: ignore[reportInvalidTypeForm]
) -> Mesh:
    """The mesh over `devices` (all of the job by default); ValueError as in `axis_sizes`."""
    devices = jax.devices() if devices is None else devices
    virtual = devices[0].platform == "cpu" and jax.process_count() == 1 and not launched()
    tpu = devices[0].platform == "tpu"
    slices = len({getattr(device, "slice_index", None) for device in devices}) if tpu else 1
    sizes = axis_sizes(config, len(devices), virtual=virtual, slices=slices)
    placed = _placed(sizes, devices, slices)
    return Mesh(placed, tuple(sizes), (AxisType.Explicit,) * len(sizes))


def _placed(
    sizes: dict[str, int],
    devices: Sequence[jax.Device],  # pyright: ignore[reportInvalidTypeForm]
    slices: int,
) -> np.ndarray:
    """Devices along each axis: axes follow the sides of a TPU's torus, which may be cut in parts,
    and `replica` the slices."""
    if slices == 1:
        place = mesh_utils.create_device_mesh
        return place(tuple(sizes.values()), devices, allow_split_physical_axes=True)
    far = {name: slices if name == "replica" else 1 for name in sizes}
    return mesh_utils.create_hybrid_device_mesh(
        [size // far[name] for name, size in sizes.items()],
        list(far.values()),
        devices,
        allow_split_physical_axes=True,
    )


def shown(sizes: dict[str, int]) -> str:
    """A mesh in words, axes of size 1 left out: `replica 2 x fsdp 4`."""
    large = [f"{name} {size}" for name, size in sizes.items() if size != 1]
    return " x ".join(large) or "of one device"


def _suggestion(sizes: dict[str, int], num_devices: int, slices: int) -> str:
    """A mesh that fits: the wanted tensor and replica sizes where they divide, the rest on fsdp."""
    left = num_devices // slices
    tensor = math.gcd(left, max(sizes["tensor"], 1))
    left //= tensor
    replica = math.gcd(left, max(sizes["replica"] // slices, 1))
    left //= replica
    return f"--mesh.fsdp {left} --mesh.tensor {tensor} --mesh.replica {replica * slices}"
