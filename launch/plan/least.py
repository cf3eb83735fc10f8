"""The least that a layout has to send in a step, by arithmetic from the sizes alone."""

from collections.abc import Mapping
from typing import NamedTuple

from launch.plan.work import Kind
from model.families.family import FamilyConfig
from model.sharding import batch_shards
from train.config import TrainConfig
from train.cut import cut

SINGLE = 4
"""Bytes of a float32: a gradient that is added up over micro-batches, a sum of the loss."""


class Need(NamedTuple):
    """One reason to send."""

    what: str
    axis: str
    kind: Kind
    bytes: float
    """A chip in a step, by a ring."""


class Local(NamedTuple):
    """Sizes as one chip sees them."""

    blocks: dict[str, float]
    """Elements of each matrix of one layer, cut over `tensor` but whole over `fsdp`."""
    shared: float
    """Elements of those matrices of a layer that `tensor` does not cut: of too few keys."""
    table: float
    """Elements of one [V, D] table, likewise."""
    tables: int
    vectors: float
    """Elements of all norms, biases and positions, which `fsdp` does not cut."""
    tokens: float
    """Of a micro-batch."""
    width: int
    """Bytes of an activation."""


def local_sizes(
    model: FamilyConfig, train: TrainConfig, length: int, sizes: Mapping[str, int]
) -> Local:
    """The model and its batch cut over the mesh; dtype auto is bfloat16, as on accelerators."""
    held = cut(model, sizes.get("tensor", 1))
    shards = batch_shards(sizes)
    return Local(
        blocks=held.matrices,
        shared=held.whole,
        table=held.tables[0],
        tables=len(held.tables),
        vectors=held.vectors,
        tokens=train.batch_size * length / shards / train.accumulation,
        width=4 if model.dtype == "float32" else 2,
    )


def least(
    model: FamilyConfig, train: TrainConfig, length: int, sizes: Mapping[str, int]
) -> list[Need]:
    """What has to be sent over each axis of the mesh; axes of size 1 and single numbers left out.

    Over `fsdp` each matrix is gathered for the forward and once more for the backward pass of each
    micro-batch, a table once for each use, and their gradients are scattered. Over `tensor` what a
    block adds to the residual stream is summed, and the gradient of what it read; with
    remat=full the sum in the middle of a block once more. Over `replica` gradients are summed once
    a step. A gradient that may be summed once a step is sent in float32 then, if that is less.
    """
    one = local_sizes(model, train, length, sizes)
    micro, L = train.accumulation, model.depth
    blocks, tables = L * sum(one.blocks.values()), one.tables
    once = min(micro * one.width, SINGLE)
    fsdp, tensor, replica = (sizes.get(axis, 1) for axis in ("fsdp", "tensor", "replica"))
    held = (blocks + tables * one.table) / fsdp
    sums = _sums(model, one)
    needs = [
        Need("layers, forward", "fsdp", "all-gather", micro * one.width * blocks),
        Need("layers, backward", "fsdp", "all-gather", micro * one.width * blocks),
        Need("tables", "fsdp", "all-gather", micro * one.width * 2 * one.table),
        Need("gradients of layers", "fsdp", "reduce-scatter", micro * one.width * blocks),
        Need("gradients of tables", "fsdp", "reduce-scatter", once * tables * one.table),
        Need("gradients of vectors", "fsdp", "all-reduce", once * one.vectors),
        Need("gradients", "replica", "all-reduce", once * (held + one.vectors)),
        Need("activations, forward", "tensor", "all-reduce", micro * sums.forward),
        Need("activations, backward", "tensor", "all-reduce", micro * sums.backward),
        Need("gradients of shared keys", "tensor", "all-reduce", once * L * one.shared / fsdp),
        Need("logits", "tensor", "all-reduce", micro * sums.logits),
    ]
    sent = []
    for need in needs:
        n = {"fsdp": fsdp, "tensor": tensor, "replica": replica}[need.axis]
        rounds = 2 if need.kind == "all-reduce" else 1
        if n > 1 and need.bytes:
            sent.append(need._replace(bytes=rounds * need.bytes * (n - 1) / n))
    return sent


class _Sums(NamedTuple):
    """Bytes of the arrays that are summed over `tensor` in a micro-batch."""

    forward: float
    backward: float
    logits: float


def _sums(model: FamilyConfig, one: Local) -> _Sums:
    hidden = one.tokens * model.width * one.width
    ends = model.residual_sums
    again = ends - 1 if model.remat == "full" else 0
    maximum_total_target = 3 * one.tokens * SINGLE
    return _Sums(
        forward=hidden * (1 + model.depth * ends),
        backward=hidden * model.depth * (ends + again),
        logits=hidden + maximum_total_target,
    )
