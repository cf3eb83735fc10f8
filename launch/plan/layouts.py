"""Every layout that a run can have on so many chips: mesh, micro-batches, what is recomputed.

Imports no jax.
"""

import dataclasses
import math
from collections.abc import Iterator

from launch.config import RunConfig

REMAT = ("none", "dots", "full")


def layouts(config: RunConfig, chips: int, slices: int = 1) -> Iterator[RunConfig]:
    """`config` in every layout that cuts its dimensions and its batch evenly.

    Slices are joined by `replica` alone, as the network between them is slow. The vocabulary is
    padded where `tensor` does not divide it. ValueError, with a batch size that could be cut, if
    there is none.
    """
    found = False
    for tensor in _tensors(config, chips, slices):
        shards = chips // tensor
        rows = config.train.batch_size // shards
        if rows * shards != config.train.batch_size:
            continue
        for replica in _divisors(shards):
            fsdp = shards // replica
            if replica % slices or config.model.embed_dim % fsdp:
                continue
            mesh = dataclasses.replace(config.mesh, replica=replica, fsdp=fsdp, tensor=tensor)
            for accumulation in _divisors(rows):
                for remat in REMAT:
                    found = True
                    yield dataclasses.replace(
                        config,
                        mesh=mesh,
                        model=dataclasses.replace(
                            config.model,
                            remat=remat,
                            vocab_multiple=_vocab_multiple(config, tensor),
                        ),
                        train=dataclasses.replace(config.train, accumulation=accumulation),
                    )
    if not found:
        raise _uncut(config, chips, slices)


def flags(chosen: RunConfig, given: RunConfig) -> str:
    """What to write on the command line to get the chosen layout."""
    mesh, model = chosen.mesh, chosen.model
    found = [f"--mesh.replica {mesh.replica}"] if mesh.replica > 1 else []
    found += [f"--mesh.fsdp {mesh.fsdp}"]
    found += [f"--mesh.tensor {mesh.tensor}"] if mesh.tensor > 1 else []
    found += [f"--model.remat {model.remat}"]
    if model.vocab_multiple != given.model.vocab_multiple:
        found += [f"--model.vocab-multiple {model.vocab_multiple}"]
    if chosen.train.accumulation != given.train.accumulation:
        found += [f"--train.accumulation {chosen.train.accumulation}"]
    return " ".join(found)


def _tensors(config: RunConfig, chips: int, slices: int) -> list[int]:
    """Sizes of `tensor` that cut heads and feed-forward width evenly, inside a slice."""
    both = math.gcd(config.model.num_heads, config.model.mlp_dim)
    return [size for size in _divisors(both) if chips // slices % size == 0]


def _vocab_multiple(config: RunConfig, tensor: int) -> int:
    if config.model.padded_vocab_size % tensor == 0:
        return config.model.vocab_multiple
    return math.lcm(config.model.vocab_multiple, tensor, 128)


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def _uncut(config: RunConfig, chips: int, slices: int) -> ValueError:
    """Why no layout cuts the batch and the width, with the nearest batch that would be cut."""
    width, batch = config.model.embed_dim, config.train.batch_size
    shards = [
        chips // tensor
        for tensor in _tensors(config, chips, slices)
        if any(
            replica % slices == 0 and width % (chips // tensor // replica) == 0
            for replica in _divisors(chips // tensor)
        )
    ]
    # Beyond a node of 8 chips, `tensor` costs more than a batch that is a little off.
    usual = [number for number in shards if number * 8 >= chips] or shards
    near = min((max(1, round(batch / n)) * n for n in usual), key=lambda size: abs(size - batch))
    return ValueError(
        f"train.batch_size={batch} must be a multiple of one of {', '.join(map(str, shards))}, "
        f"because {chips:,} chips are that many shards of the batch, times a mesh.tensor that "
        f"divides {config.model.num_heads} heads; try --train.batch-size {near}"
    )
