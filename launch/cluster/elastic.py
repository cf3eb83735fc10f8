"""How many processes of a job can continue without some, and on which mesh."""

import dataclasses
from typing import NamedTuple

from launch.config import RunConfig


class SmallerJob(NamedTuple):
    """A number of processes that can hold the run."""

    processes: int
    flags: list[str]
    """What changes the run's mesh to theirs; empty if an axis of -1 does."""
    mesh: str
    """The mesh in words."""


def largest_job(
    run: RunConfig, most: int, fewest: int, devices_per_process: int
) -> SmallerJob | None:
    """The largest number from `most` down to `fewest` whose devices can hold the run at its batch
    size; None if there is none.

    The axis of -1 takes what there is. If every axis has a size, `replica` does so if it was above
    1, else `fsdp`: how parameters are cut by `tensor` is left alone.
    """
    import jax

    # This process only looks at shapes; accelerators belong to those it starts.
    jax.config.update("jax_platforms", "cpu")
    mesh, flags = run.mesh, []
    if -1 not in dataclasses.astuple(mesh):
        axis = "replica" if mesh.replica > 1 else "fsdp"
        mesh, flags = dataclasses.replace(mesh, **{axis: -1}), [f"--mesh.{axis}=-1"]
    for processes in range(most, fewest - 1, -1):
        try:
            shown = _mesh_of(dataclasses.replace(run, mesh=mesh), processes * devices_per_process)
        except ValueError:
            continue
        return SmallerJob(processes, flags, shown)
    return None


def _mesh_of(run: RunConfig, devices: int) -> str:
    """The mesh of so many devices in words; ValueError if the run does not fit them."""
    import jax

    from launch.process.mesh import axis_sizes, shown
    from launch.run import build
    from model.sharding import abstract_mesh

    sizes = axis_sizes(run.mesh, devices)
    with jax.sharding.use_abstract_mesh(abstract_mesh(**sizes)):
        build.check_batch(run.train, run.data.sequence_length, run.model)
        jax.eval_shape(build.fresh_state(run.model, run.train))
    return shown(sizes)
