"""Whether a run's state fits the devices at hand, told before the step is compiled."""

import os

import jax

from launch.plan.shapes import memory
from launch.plan.units import size
from train.state import TrainState


def room() -> int:
    """Bytes that a device of this process has; of virtual ones on a CPU, its share of the
    machine's."""
    device = jax.local_devices()[0]
    told = device.memory_stats()
    if told and "bytes_limit" in told:
        return told["bytes_limit"]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return machine // jax.local_device_count()


def require_room(state: TrainState, there: int) -> str:
    """What a device must hold at least of the `there` bytes it has, in a line; `state` is its
    shapes.

    Raises ValueError if the state alone does not fit.
    """
    least, gradients = memory(state).device, memory(state.model).device
    if least > there:
        shards = f"{jax.sharding.get_abstract_mesh().size:,} devices"
        raise ValueError(
            f"mesh of {shards} must hold the parameters and the optimizer's state, because a step "
            f"updates them, but each device must hold {size(least)} of them (arithmetic) "
            f"and has {size(there)}; try more devices on --mesh.fsdp or --mesh.tensor"
        )
    return (
        f"memory: state {size(least)} and gradients {size(gradients)} of a device's {size(there)} "
        "(arithmetic)"
    )


def told_of(compiled: jax.stages.Compiled, there: int) -> str:
    """What the compiler gives the step against what a device has, in words; nothing if it does not
    tell. Its peak is not taken: on CPU it leaves the temporaries out."""
    found = compiled.memory_analysis()
    if found is None:
        return ""
    peak = found.argument_size_in_bytes + found.temp_size_in_bytes
    peak += found.output_size_in_bytes - found.alias_size_in_bytes
    more = ", more than there is" if peak > there else ""
    return f"; it takes {size(peak)} of a device (compiler){more}"
