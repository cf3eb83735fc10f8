"""Mesh axes, and the one table from logical to mesh axes."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import jax
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from data.errors import UserError

AXES = ("replica", "stage", "fsdp", "expert", "context", "tensor")

MESH_AXES: dict[str, tuple[str, ...]] = {
    "batch": ("replica", "fsdp", "expert"),
    "length": ("context",),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "mlp": ("tensor",),
    "vocab": ("tensor",),
    "expert": ("expert",),
}
MAY_STAY_WHOLE = ("kv_heads",)
"""Logical axes that every device holds whole where the mesh does not cut them evenly."""


def abstract_mesh(**sizes: int) -> AbstractMesh:
    """A mesh of that many devices without the devices: every axis exists, unnamed ones have size
    1."""
    return AbstractMesh(
        tuple(sizes.get(axis, 1) for axis in AXES),
        AXES,
        axis_types=(AxisType.Explicit,) * len(AXES),
    )


@contextmanager
def uncut() -> Iterator[None]:
    """Around what asks for shapes that depend on no mesh: an abstract one on which nothing is cut,
    whatever mesh is current."""
    # JAX lets a mesh of another size follow only an empty one.
    empty = jax.sharding.use_abstract_mesh(AbstractMesh((), ()))
    with empty, jax.sharding.use_abstract_mesh(abstract_mesh()):
        yield


def mesh_axes(logical: str) -> tuple[str, ...]:
    """Axes of the current mesh, larger than 1, that shard the logical axis."""
    if logical not in MESH_AXES:
        raise UserError(
            f"logical axis {logical!r} must be one of {', '.join(MESH_AXES)}, "
            "because model/sharding.py maps only those to the mesh"
        )
    sizes = jax.sharding.get_abstract_mesh().shape
    return tuple(axis for axis in MESH_AXES[logical] if sizes.get(axis, 1) > 1)


def axis_size(logical: str) -> int:
    """Number of shards the current mesh cuts the logical axis into."""
    sizes = jax.sharding.get_abstract_mesh().shape
    size = 1
    for axis in mesh_axes(logical):
        size *= sizes[axis]
    return size


def batch_shards(sizes: Mapping[str, int]) -> int:
    """Into how many parts a mesh of those axis sizes cuts the rows of a batch."""
    return math.prod(sizes.get(axis, 1) for axis in MESH_AXES["batch"])


def spec(*logical: str | None) -> PartitionSpec:
    """The PartitionSpec of an array whose dimensions are the given logical axes (None: not
    sharded).

    Axes of size 1 are left out. Raises ValueError on an unknown name and on a mesh axis used twice.
    """
    entries, seen = [], {}
    for name in logical:
        axes = mesh_axes(name) if name else ()
        for axis in axes:
            if axis in seen:
                raise UserError(
                    f"spec{logical} must use a mesh axis once, because {seen[axis]!r} and {name!r} "
                    f"are both sharded over {axis!r}"
                )
            seen[axis] = name
        entries.append(axes[0] if len(axes) == 1 else axes or None)
    return PartitionSpec(*entries)


def check_divisible(what: str, size: int, logical: str, remedy: str) -> None:
    """Raise ValueError if the current mesh does not cut `size` into equal shards."""
    shards = axis_size(logical)
    if size % shards:
        axes = mesh_axes(logical)
        smaller = ""
        if len(axes) == 1:
            fits = math.gcd(size, shards)
            rest = jax.sharding.get_abstract_mesh().shape["replica"] * shards // fits
            smaller = f", or --mesh.{axes[0]} {fits} --mesh.replica {rest}"
        raise UserError(
            f"{what}={size} must be a multiple of {shards}, because "
            f"{' x '.join(f'mesh.{axis}' for axis in axes)} cuts it into {shards} "
            f"equal shards; try {remedy}{smaller}"
        )


def next_cut(size: int, logical: str, also: int = 1) -> int:
    """The size, or the next one that the current mesh cuts equally and that `also` divides."""
    whole = math.lcm(axis_size(logical), also)
    return -(-size // whole) * whole
