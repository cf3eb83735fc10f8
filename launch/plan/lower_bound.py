"""The bytes that a layout has to send in a step, by arithmetic from the sizes alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from launch.plan.work import Kind, ring_bytes
from model.families.family import FamilyConfig
from model.sharding import batch_shards
from train.config import TrainConfig
from train.cut import cut

SINGLE = 4
"""Bytes of a float32: a gradient that is added up over micro-batches, a sum of the loss."""


@dataclass(frozen=True)
class Need:
    """One reason to send."""

    what: str
    axis: str
    kind: Kind
    bytes: float
    """A chip in a step, by a ring."""


def lower_bound(
    model: FamilyConfig,
    train: TrainConfig,
    length: int,
    sizes: Mapping[str, int],
    scored: float = 1.0,
) -> list[Need]:
    """What has to be sent over each axis of the mesh; axes of size 1 and single numbers left out,
    dtype auto is bfloat16, as on accelerators. The table scores the share `scored` of the places.

    Over `fsdp` each matrix is gathered for the forward and once more for the backward pass of each
    micro-batch, a table once for each use, and their gradients are scattered. Over `tensor` what a
    block adds to the residual stream is summed, and the gradient of what it read; with
    remat=full each sum that the block reads once more. Over `replica` gradients are summed once
    a step. A gradient that may be summed once a step is sent in float32 then, if that is less.
    """
    local = cut(model, sizes.get("tensor", 1), scored)
    micro, L = train.accumulation, model.depth
    width = 4 if model.dtype == "float32" else 2
    once = min(micro * width, SINGLE)
    fsdp = sizes.get("fsdp", 1)
    blocks = L * local.layer
    tables = len(local.tables) * local.tables[0]
    tokens = train.batch_size * length / batch_shards(sizes) / micro
    hidden = tokens * model.width * width
    head = sum(local.head.values())
    uses = 2 if scored else 1
    forward = backward = 0.0
    for stack in model.stacks(scored):
        again = stack.sums - (not model.reads_last_sum) if model.remat == "full" else 0
        forward += stack.places * (1 + stack.layers * stack.sums)
        backward += stack.places * stack.layers * (stack.sums + again) + stack.read
    maximum_total_target = 3 * scored * tokens * SINGLE
    results = [
        Need("layers, forward", "fsdp", "all-gather", micro * width * blocks),
        Need("layers, backward", "fsdp", "all-gather", micro * width * blocks),
        Need("head", "fsdp", "all-gather", 2 * micro * width * head),
        Need("tables", "fsdp", "all-gather", micro * width * uses * local.tables[0]),
        Need("gradients of layers", "fsdp", "reduce-scatter", micro * width * blocks),
        Need("gradients of the head", "fsdp", "reduce-scatter", micro * width * head),
        Need("gradients of tables", "fsdp", "reduce-scatter", once * tables),
        Need("gradients of vectors", "fsdp", "all-reduce", once * local.vectors),
        Need(
            "gradients",
            "replica",
            "all-reduce",
            once * ((blocks + head + tables) / fsdp + local.vectors),
        ),
        Need("activations, forward", "tensor", "all-reduce", micro * hidden * forward),
        Need("activations, backward", "tensor", "all-reduce", micro * hidden * backward),
        Need("gradients of shared keys", "tensor", "all-reduce", once * L * local.whole / fsdp),
        Need("logits", "tensor", "all-reduce", micro * (scored * hidden + maximum_total_target)),
    ]
    return [
        replace(need, bytes=ring_bytes(need.kind, need.bytes, group))
        for need in results
        if (group := sizes.get(need.axis, 1)) > 1 and need.bytes
    ]
