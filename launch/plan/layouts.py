"""Every layout that a run can have on so many devices: mesh, micro-batches, what is recomputed."""

import dataclasses
from collections.abc import Iterator

from data.errors import UserError
from launch.config import RunConfig
from launch.plan.topology import Topology

REMAT = ("none", "dots", "full")
OFFLOAD = (
    "remat offload is not tried: it keeps a layer's input on the device, as full does, and so "
    "finds no room where full finds none"
)
"""What is said where nothing fits; the step's other activations go to the host's memory."""
CLOSE = 0.05
"""Share of a batch by which another is as good: 4M tokens may be 4,000,000 or 4,194,304."""


class Uncut(UserError):
    """No layout cuts the batch and the width evenly."""


def layouts(config: RunConfig, topology: Topology) -> Iterator[RunConfig]:
    """`config` in every layout that cuts its dimensions and its batch evenly.

    Slices are joined by `replica` alone, as the network between them is slow. The vocabulary is
    padded where `tensor` does not divide it. Raises Uncut, with a batch size that could be cut, if
    there is none.
    """
    none = True
    for tensor in _tensors(config, topology):
        shards = topology.devices // tensor
        rows = config.train.batch_size // shards
        if rows * shards != config.train.batch_size:
            continue
        for replica in _divisors(shards):
            fsdp = shards // replica
            if replica % topology.slices or config.model.width % fsdp:
                continue
            mesh = dataclasses.replace(config.mesh, replica=replica, fsdp=fsdp, tensor=tensor)
            for accumulation in _divisors(rows):
                for remat in REMAT:
                    none = False
                    yield dataclasses.replace(
                        config,
                        mesh=mesh,
                        model=dataclasses.replace(config.model.padded_for(tensor), remat=remat),
                        train=dataclasses.replace(config.train, accumulation=accumulation),
                    )
    if none:
        raise _uncut(config, topology)


def flags(chosen: RunConfig, config: RunConfig) -> str:
    """What to write on the command line to get the chosen layout of `config`."""
    mesh, model = chosen.mesh, chosen.model
    words = [f"--mesh.replica {mesh.replica}"] if mesh.replica > 1 else []
    words += [f"--mesh.fsdp {mesh.fsdp}"]
    words += [f"--mesh.tensor {mesh.tensor}"] if mesh.tensor > 1 else []
    words += [f"--model.remat {model.remat}"]
    words += [
        f"--model.{field.name.replace('_', '-')} {getattr(model, field.name)}"
        for field in dataclasses.fields(model)
        if field.name != "remat" and getattr(model, field.name) != getattr(config.model, field.name)
    ]
    if chosen.train.accumulation != config.train.accumulation:
        words += [f"--train.accumulation {chosen.train.accumulation}"]
    return " ".join(words)


def _tensors(config: RunConfig, topology: Topology) -> list[int]:
    """Sizes of `tensor` that cut heads and feed-forward width evenly, inside a slice."""
    # It brings jax with it, and the help of `plan` needs none.
    from train.cut import evenly_cut

    inside = topology.devices // topology.slices
    return [size for size in _divisors(evenly_cut(config.model)) if inside % size == 0]


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def nearest_batch(config: RunConfig, topology: Topology) -> int:
    """The number of rows nearest to train.batch_size that can be cut evenly with the smallest
    `tensor`, if that is as near as CLOSE, else with any."""
    batch = config.train.batch_size
    near = [max(1, round(batch / n)) * n for n in _shards(config, topology)]
    close = (size for size in near if abs(size - batch) <= CLOSE * batch)
    return next(close, min(near, key=lambda size: abs(size - batch)))


def _shards(config: RunConfig, topology: Topology) -> list[int]:
    """In how many parts a batch can be cut."""
    width, slices = config.model.width, topology.slices
    return [
        shards
        for shards in (topology.devices // tensor for tensor in _tensors(config, topology))
        if any(n % slices == 0 and width % (shards // n) == 0 for n in _divisors(shards))
    ]


def _uncut(config: RunConfig, topology: Topology) -> Uncut:
    """Why no layout cuts the batch and the width, with the nearest batch that would be cut."""
    shards = ", ".join(map(str, _shards(config, topology)))
    return Uncut(
        f"train.batch_size={config.train.batch_size} must be a multiple of one of {shards}, "
        f"because {topology.devices:,} devices are that many shards of the batch, times a "
        f"mesh.tensor that divides {config.model.attended.heads} heads; "
        f"try --train.batch-size {nearest_batch(config, topology)}"
    )
