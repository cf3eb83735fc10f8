"""The step time and the course of a run on a topology, over a compiled program's work or, without
one, over arithmetic's."""

from collections.abc import Mapping

from launch.config import RunConfig
from launch.plan.arithmetic import work
from launch.plan.compiled import Read
from launch.plan.efficiency import efficiency
from launch.plan.placement import place
from launch.plan.roofline import Course, StepTime, course, step_time
from launch.plan.topology import Topology
from train.chips import Chip


def device_of(topology: Topology) -> tuple[Chip, tuple[int, ...]]:
    """What one device of the topology gives, and the torus of a slice in devices: the devices of a
    chip share its figures and its links, and stand side by side along the last dimension."""
    chip, shape, many = topology.chip, topology.shape, topology.devices_per_chip
    if not chip.torus:
        return chip, ()
    each = chip._replace(
        matmul_flops=chip.matmul_flops / many,
        memory=chip.memory // many,
        memory_bandwidth=chip.memory_bandwidth / many,
        link_bandwidth=chip.link_bandwidth / many,
        network_bandwidth=chip.network_bandwidth / many,
    )
    return each, (*shape[:-1], shape[-1] * many)


def time_of(
    config: RunConfig, sizes: Mapping[str, int], topology: Topology, read: Read | None = None
) -> StepTime:
    """Of one step on a mesh of those axes; `read` is what the compiled program asks of a device.

    Where kernels of the program do not tell their products, arithmetic's are taken for all.
    """
    device, shape = device_of(topology)
    axes, length = dict(sizes), config.data.sequence_length
    packed = config.data.packing
    asked = work(config.model, config.train, length, axes, device.platform, packed=packed)
    products = "arithmetic"
    if read is not None and read.uncounted:
        asked = read.work._replace(matmul_flops=asked.matmul_flops)
    elif read is not None:
        asked, products = read.work, "compiler"
    time = step_time(asked, device, place(device, axes, shape), efficiency(device))
    return time._replace(products=products)


def course_of(
    config: RunConfig, topology: Topology, seconds: float, price: float | None = None
) -> Course:
    """Of all steps of the run; `price` is that of a chip-hour."""
    length, train = config.data.sequence_length, config.train
    return course(
        seconds,
        config.model,
        length,
        train.batch_size,
        topology.chip,
        topology.chips,
        tokens=train.steps * train.batch_size * length,
        price=price,
    )
