"""Whether a run fits the devices at hand, known before the step is compiled."""

import os

import jax

from data.config import DataKind
from data.errors import UserError
from model.families.family import FamilyConfig
from train.config import TrainConfig
from train.cut import is_planned
from train.memory import array_bytes, step_memory
from train.report.numbers import size
from train.state import TrainState


def device_memory() -> int:
    """Bytes that a device of this process has; of virtual ones on a CPU, its share of the
    machine's."""
    device = jax.local_devices()[0]
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return machine // jax.local_device_count()


def step_extra(
    model: FamilyConfig, train: TrainConfig, data: DataKind, platform: str
) -> float | None:
    """Bytes of a device that a step takes next to the state, about: gradients, activations and
    temporaries; None where arithmetic does not hold, as on a CPU, in float32 and of a family that
    it does not know."""
    if platform == "cpu" or model.dtype != "bfloat16" or not is_planned(model):
        return None
    rows = {"packed": data.packing, "scored": data.scored_share}
    sizes = dict(jax.sharding.get_abstract_mesh().shape)
    memory = step_memory(model, train, data.sequence_length, sizes, platform, **rows)
    return memory.gradients + memory.activations + memory.temporaries


def require_room(state: TrainState, available: int, extra: float | None = None) -> str:
    """A line of what a device must hold at least, of the `available` bytes that it has; `state` is
    its shapes, and `extra` what a step takes in addition to it, if that is known.

    Raises ValueError if the state alone does not fit.
    """
    needed, gradients = array_bytes(state).device, array_bytes(state.model).device
    if needed > available:
        shards = f"{jax.sharding.get_abstract_mesh().size:,} devices"
        raise UserError(
            f"mesh of {shards} must hold the parameters and the optimizer's state, because a step "
            f"updates them, but each device must hold {size(needed)} of them (arithmetic) "
            f"and has {size(available)}; try more devices on --mesh.fsdp or --mesh.tensor"
        )
    whole = ""
    if extra is not None:
        more = ", more than there is" if needed + extra > available else ""
        whole = f"; with activations and temporaries about {size(round(needed + extra))}{more}"
    return (
        f"memory: state {size(needed)}, gradients {size(gradients)} of a device's "
        f"{size(available)}{whole} (arithmetic)"
    )


def step_bytes(compiled: jax.stages.Compiled) -> int | None:
    """Bytes of a device that the step takes by the compiler, None if it does not say. Its peak is
    not taken: on CPU it leaves the temporaries out."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    size = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    return size + analysis.output_size_in_bytes - analysis.alias_size_in_bytes


def compiled_size(compiled: jax.stages.Compiled, available: int) -> str:
    """`step_bytes` against what a device has, in words; nothing if the compiler does not say."""
    if (peak := step_bytes(compiled)) is None:
        return ""
    more = ", more than there is" if peak > available else ""
    return f"; it takes {size(peak)} of a device (compiler){more}"
