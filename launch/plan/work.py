"""What one train step asks of one chip: products, memory traffic and collectives.

The compiled program says it (`launch.plan.program`), or arithmetic from the config alone, which is
here. One roofline reads either.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from model.families.family import FamilyConfig
from train.config import TrainConfig
from train.memory import HALF, DeviceStep
from train.optimizer.memory import PARAMETER, moments

Kind = Literal["all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute"]
Origin = Literal["arithmetic", "compiler"]


@dataclass(frozen=True, order=True)
class Collective:
    """Collectives of one kind over the same mesh axes, all of a step together."""

    kind: Kind
    axes: tuple[str, ...]
    """Mesh axes that the group spans, slowest first; empty if it follows no axes."""
    group: int
    """Chips in a group."""
    count: int
    """How often it runs in a step, trips of loops counted."""
    bytes: float
    """Sent by a chip in a step, by a ring: of a result of G bytes over n chips, G (n - 1) / n for
    a gather or a scatter, twice that for an all-reduce."""
    where: str = ""
    """Line of the source that asked for it, if the compiler says."""
    apart: bool = False
    """Whether the chips are in slices of their own, as the compiler sums between slices after what
    it did inside each."""


def ring_bytes(kind: Kind, size: float, group: int) -> float:
    """Sent by each chip of a group for a result of `size` bytes, by a ring."""
    return (2 if kind == "all-reduce" else 1) * size * (group - 1) / group


class Work(NamedTuple):
    """Of one chip in one step."""

    matmul_flops: float
    """Multiplications and additions of matrix products, recomputation counted."""
    memory_bytes: float
    """Read from and written to the chip's memory."""
    collectives: tuple[Collective, ...]
    origin: Origin


def work_of(model: FamilyConfig, train: TrainConfig, length: int, step: DeviceStep) -> Work:
    """One chip's work in one step, of the step as that chip sees it."""
    micro, L = train.accumulation, model.depth
    scoring = 6 * step.scored * (step.table + step.head)
    return Work(
        matmul_flops=micro * (L * _layer_flops(model, length, step) + scoring),
        memory_bytes=micro * (L * _layer_traffic(model, length, step) + _head_traffic(step))
        + _update_traffic(model, train, step),
        collectives=tuple(
            part for part in _collectives(model, micro, step) if part.group > 1 and part.bytes
        ),
        origin="arithmetic",
    )


def _layer_flops(model: FamilyConfig, length: int, step: DeviceStep) -> float:
    """Forward, twice that backward, and what the backward pass computes again."""
    forward = 2 * step.tokens * step.products
    heads, head_dim = model.attended[:2]
    attention = 4 * step.tokens * length * step.scores_share * heads * head_dim / step.tensor
    return (3 + step.recomputed) * forward + step.attention_passes * attention


def _layer_traffic(model: FamilyConfig, length: int, step: DeviceStep) -> float:
    """Bytes of a layer's products and of what is computed between them, as if well fused."""
    products = HALF * (step.tokens * 2 * step.channels + 2 * step.layer)
    scores = 0.0
    if step.keeps_scores:
        elements = step.tokens * length * step.scores_share * model.attended.heads / step.tensor
        scores = step.attention_passes * (2 * PARAMETER + 2 * HALF) * elements
    return (3 + step.recomputed) * products + scores


def _head_traffic(step: DeviceStep) -> float:
    """Logits written, read thrice and their gradient read twice; for every chunk of them the table
    is read twice and its float32 gradient read and written."""
    logits = step.scored * step.rows
    chunks = math.ceil(step.scored / step.chunk)
    return (4 * PARAMETER + HALF) * logits + chunks * (2 * HALF + 2 * PARAMETER) * step.table


def _update_traffic(model: FamilyConfig, train: TrainConfig, step: DeviceStep) -> float:
    """Parameters, gradient and moments read, all but the gradient written; micro-batches add up
    their gradients."""
    rounds = 3 + 2 * moments(train.optimizer, model)
    rounds += 2 * train.accumulation if train.accumulation > 1 else 0
    return rounds * PARAMETER * step.parameters


def _collectives(model: FamilyConfig, micro: int, step: DeviceStep) -> list[Collective]:
    D, L, parts = model.width, model.depth, model.depth + bool(step.head)
    blocks = L * step.layer + step.head
    gradients = HALF * blocks + (HALF + PARAMETER) * step.table
    groups = {"fsdp": step.fsdp, "tensor": step.tensor, "replica": step.replica}

    def over(axis: str, kind: Kind, count: int, size: float) -> Collective:
        """`count` collectives whose results have `size` bytes in all."""
        group = groups[axis]
        return Collective(kind, (axis,), group, count, ring_bytes(kind, size, group))

    reduced, summed = 1, step.tokens + step.scored
    for stack in model.stacks(step.scored / step.tokens):
        again = stack.sums - (step.recomputed != 1) if step.recomputed else 0
        each = max(2, stack.sums) + stack.sums + again
        reduced += stack.layers * (each + bool(stack.read))
        summed += stack.layers * (each * stack.places + stack.read) * step.tokens
    gathered = HALF * (2 * blocks + 2 * step.table)
    return [
        over("fsdp", "all-gather", micro * (2 * parts + 2), micro * gathered),
        over("fsdp", "reduce-scatter", micro * parts, micro * HALF * blocks),
        over("fsdp", "reduce-scatter", micro * 2, micro * (HALF + PARAMETER) * step.table),
        over("replica", "all-reduce", micro * (parts + 2), micro * gradients / step.fsdp),
        over("tensor", "all-reduce", micro * (reduced + 1), micro * HALF * summed * D),
    ]
