"""Whether a run fits the devices at hand, told before the step is compiled."""

import os

import jax

from data.errors import UserError
from launch.plan import arithmetic
from launch.plan.chips import CHIPS
from launch.plan.cut import is_planned
from launch.plan.shapes import memory
from launch.plan.units import size
from model.families.family import FamilyConfig
from train.config import TrainConfig
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


def beside_state(
    model: FamilyConfig, train: TrainConfig, length: int, platform: str, *, packed: bool
) -> float | None:
    """Bytes of a device that a step takes beside the state, about: gradients, activations and
    temporaries; None where arithmetic does not hold, as on a CPU, in float32 and of a family that
    it does not know."""
    # Of a chip, memory depends on the platform alone.
    chip = next((chip for chip in CHIPS.values() if chip.platform == platform), None)
    if chip is None or model.dtype != "bfloat16" or not is_planned(model):
        return None
    sizes = dict(jax.sharding.get_abstract_mesh().shape)
    found = arithmetic.memory(model, train, length, sizes, chip, packed=packed)
    return found.gradients + found.activations + found.temporaries


def require_room(state: TrainState, there: int, beside: float | None = None) -> str:
    """What a device must hold at least of the `there` bytes it has, in a line; `state` is its
    shapes, and `beside` what a step takes more, if that is known.

    Raises ValueError if the state alone does not fit.
    """
    least, gradients = memory(state).device, memory(state.model).device
    if least > there:
        shards = f"{jax.sharding.get_abstract_mesh().size:,} devices"
        raise UserError(
            f"mesh of {shards} must hold the parameters and the optimizer's state, because a step "
            f"updates them, but each device must hold {size(least)} of them (arithmetic) "
            f"and has {size(there)}; try more devices on --mesh.fsdp or --mesh.tensor"
        )
    whole = ""
    if beside is not None:
        more = ", more than there is" if least + beside > there else ""
        whole = f"; with activations and temporaries about {size(round(least + beside))}{more}"
    return (
        f"memory: state {size(least)}, gradients {size(gradients)} of a device's {size(there)}"
        f"{whole} (arithmetic)"
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
