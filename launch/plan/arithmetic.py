"""What a train step asks of one chip, from the config alone: products, memory traffic and
collectives as our program has them, and about how much memory it takes. No compiler is asked.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

from data.errors import UserError
from launch.plan.chips import Chip
from launch.plan.cut import cut, recomputed
from launch.plan.work import Collective, Kind, Work
from model.families.family import FamilyConfig
from model.sharding import batch_shards
from train.config import TrainConfig
from train.loss import choose_chunk
from train.optimizer.memory import kept, moments

MASTER = 4
"""Bytes of a parameter, a moment and an accumulated gradient: float32."""
HALF = 2
"""Bytes of an activation, and of a weight or gradient on its way: bfloat16."""
PASSES = {"xla": 3.0, "blocked": 3.5, "cudnn": 3.5, "splash": 4.5}
"""Forward passes that attention costs a step by its kernel: one forward, two backward, and half of
one each time that the backward pass computes the scores anew; `splash` does so for the gradients of
queries and of keys, and finds the gradient of the probabilities twice."""


class Sizes(NamedTuple):
    """The step as one chip sees it."""

    fsdp: int
    tensor: int
    replica: int
    tokens: float
    """Of one micro-batch."""
    layer: float
    """Elements of a layer's matrices, cut over `tensor` and gathered over `fsdp`."""
    table: float
    """Elements of one [V, D] table, cut and gathered in the same way."""
    tables: int
    keys: float
    """Share of the T x T scores that the attention kernel computes."""
    scores: bool
    """Whether the kernel writes scores to memory."""
    again: float
    """Share of a layer's forward products that the backward pass computes again."""
    attention: float
    """Forward passes that attention costs, those of the backward pass and again included."""


class Memory(NamedTuple):
    """Bytes a chip, by arithmetic: for pruning a search, not what the compiler will allot."""

    parameters: float
    optimizer: float
    gradients: float
    activations: float
    temporaries: float

    @property
    def total(self) -> float:
        return sum(self)


def sizes_of(
    model: FamilyConfig,
    train: TrainConfig,
    length: int,
    sizes: dict[str, int],
    chip: Chip,
    *,
    packed: bool,
) -> Sizes:
    """The config and mesh as one chip sees them; ValueError for a dtype without a known peak."""
    if model.dtype == "float32":
        raise UserError(
            "model.dtype=float32 must be bfloat16 here, because the peaks of chips are known for "
            "bfloat16 only; try --model.dtype bfloat16"
        )
    kernel = _kernel(model, chip.platform)
    tensor = sizes.get("tensor", 1)
    held = cut(model, tensor)
    return Sizes(
        fsdp=sizes.get("fsdp", 1),
        tensor=tensor,
        replica=sizes.get("replica", 1),
        tokens=train.batch_size * length / batch_shards(sizes) / train.accumulation,
        layer=sum(held.matrices.values()),
        table=held.tables[0],
        tables=len(held.tables),
        keys=_keys(model, length, kernel, packed),
        scores=kernel in ("xla", "blocked"),
        again=recomputed(model) if model.remat == "full" else 0.0,
        attention=PASSES[kernel] + (model.remat != "none"),
    )


@functools.lru_cache(maxsize=4096)
def _kernel(model: FamilyConfig, platform: str) -> str:
    """The attention kernel of the model on such chips, in bfloat16."""
    return dataclasses.replace(model, dtype="bfloat16").resolve(platform).kernel


def _keys(model: FamilyConfig, length: int, kernel: str, packed: bool) -> float:
    """Share of the T x T scores that a kernel computes, on the average of the layers."""
    windows = model.attended.windows
    if not model.attended.causal:
        return 1.0
    if kernel == "blocked":
        return 0.625 if length % 4 == 0 else 1.0
    if kernel == "cudnn":
        dense = all(window is None for window, layers in windows if layers)
        return 0.5 if dense and not packed else 1.0
    if kernel == "xla":
        return 1.0
    return sum(
        layers / model.depth * _blocks(length, window or length) for window, layers in windows
    )


def _blocks(length: int, window: int) -> float:
    """Share of blocks of scores, 512 tokens wide at most, that hold a key some query sees."""
    length += -length % 128
    size = math.gcd(length, 512)
    number, back = length // size, -(-(window - 1) // size)
    return sum(min(block, back) + 1 for block in range(number)) / number**2


def work(
    model: FamilyConfig,
    train: TrainConfig,
    length: int,
    sizes: dict[str, int],
    chip: Chip,
    *,
    packed: bool = True,
) -> Work:
    """One chip's work in one step on a mesh of those axis sizes.

    `packed` rows carry segment ids, so that no kernel can skip the keys after a query.
    """
    one = sizes_of(model, train, length, sizes, chip, packed=packed)
    return work_of(model, train, length, one)


def work_of(model: FamilyConfig, train: TrainConfig, length: int, one: Sizes) -> Work:
    """One chip's work in one step, of the step as that chip sees it."""
    micro, L = train.accumulation, model.depth
    return Work(
        matmul_flops=micro * (L * _layer_flops(model, length, one) + 6 * one.tokens * one.table),
        memory_bytes=micro
        * (L * _layer_traffic(model, length, one) + _head_traffic(model, train, one))
        + _update_traffic(model, train, one),
        collectives=tuple(
            found for found in _collectives(model, micro, one) if found.group > 1 and found.bytes
        ),
        origin="arithmetic",
    )


def _layer_flops(model: FamilyConfig, length: int, one: Sizes) -> float:
    """Forward, twice that backward, and what the backward pass computes again."""
    forward = 2 * one.tokens * one.layer
    heads, head_dim = model.attended[:2]
    attention = 4 * one.tokens * length * one.keys * heads * head_dim / one.tensor
    return (3 + one.again) * forward + one.attention * attention


def _layer_traffic(model: FamilyConfig, length: int, one: Sizes) -> float:
    """Bytes of a layer's products and of what is computed between them, as if well fused."""
    widths = _widths(model, one)
    products = HALF * (one.tokens * 2 * widths + 2 * one.layer)
    scores = 0.0
    if one.scores:
        elements = one.tokens * length * one.keys * model.attended.heads / one.tensor
        scores = one.attention * (2 * MASTER + 2 * HALF) * elements
    return (3 + one.again) * products + scores


def _widths(model: FamilyConfig, one: Sizes) -> float:
    """Channels of all activations of a layer that one chip holds of a token."""
    return 4 * model.width + cut(model, one.tensor).split_channels


def _head_traffic(model: FamilyConfig, train: TrainConfig, one: Sizes) -> float:
    """Logits made, read thrice and their gradient read twice; for every chunk of them the table is
    read twice and its float32 gradient read and written."""
    logits = one.tokens * cut(model, one.tensor).rows
    chunks = math.ceil(one.tokens / _chunk(model, train, one))
    return (4 * MASTER + HALF) * logits + chunks * (2 * HALF + 2 * MASTER) * one.table


def _chunk(model: FamilyConfig, train: TrainConfig, one: Sizes) -> float:
    """Tokens whose logits exist at a time."""
    wanted = train.loss_chunk or choose_chunk(model.table_rows, "accelerator")
    return min(wanted, one.tokens)


def _update_traffic(model: FamilyConfig, train: TrainConfig, one: Sizes) -> float:
    """Parameters, gradient and moments read, all but the gradient written; micro-batches add up
    their gradients."""
    rounds = (
        3
        + 2 * moments(train.optimizer, model)
        + (2 * train.accumulation if train.accumulation > 1 else 0)
    )
    return rounds * MASTER * _held(model, one)


def _held(model: FamilyConfig, one: Sizes) -> float:
    """Parameters of one chip, without norms, biases and positions."""
    return (model.depth * one.layer + one.tables * one.table) / one.fsdp


def _collectives(model: FamilyConfig, micro: int, one: Sizes) -> list[Collective]:
    L, D = model.depth, model.width
    blocks = L * one.layer
    gradients = HALF * blocks + (HALF + MASTER) * one.table

    def over(axis: str, kind: Kind, count: int, size: float) -> Collective:
        """`count` collectives whose results have `size` bytes in all."""
        group = one._asdict()[axis]
        sent = size * (group - 1) / group * (2 if kind == "all-reduce" else 1)
        return Collective(kind, (axis,), group, count, sent)

    ends = model.residual_sums
    again = math.ceil(one.again * ends) if one.again == 1 else ends - 1 if one.again else 0
    reduced = L * (2 + ends + again) + 2
    return [
        over(
            "fsdp", "all-gather", micro * (2 * L + 2), micro * HALF * (2 * blocks + 2 * one.table)
        ),
        over("fsdp", "reduce-scatter", micro * L, micro * HALF * blocks),
        over("fsdp", "reduce-scatter", micro * 2, micro * (HALF + MASTER) * one.table),
        over("replica", "all-reduce", micro * (L + 2), micro * gradients / one.fsdp),
        over("tensor", "all-reduce", micro * reduced, micro * HALF * reduced * one.tokens * D),
    ]


def memory(
    model: FamilyConfig,
    train: TrainConfig,
    length: int,
    sizes: dict[str, int],
    chip: Chip,
    *,
    packed: bool = True,
) -> Memory:
    """About what a chip will hold at the step's peak, to leave out layouts that cannot fit."""
    one = sizes_of(model, train, length, sizes, chip, packed=packed)
    held = MASTER * _held(model, one)
    return Memory(
        parameters=held,
        optimizer=kept(train.optimizer, model) * held,
        gradients=held * (2 if train.accumulation > 1 else 1),
        activations=model.depth * HALF * one.tokens * _saved(model, length, one),
        temporaries=_temporaries(model, train, length, one),
    )


def _saved(model: FamilyConfig, length: int, one: Sizes) -> float:
    """Channels that a layer keeps of a token for the backward pass."""
    D = model.width
    if model.remat in ("full", "offload"):
        return D
    held = cut(model, one.tensor)
    if model.remat == "dots":
        return D + held.split_outputs / one.tensor + held.whole_outputs
    heads = model.attended.heads
    scores = 1.5 * one.keys * length * heads / one.tensor if one.scores else 0.0
    return _widths(model, one) + 2 * D + scores


def _temporaries(model: FamilyConfig, train: TrainConfig, length: int, one: Sizes) -> float:
    """The larger of a layer's backward pass and a chunk of the logits."""
    heads = model.attended.heads
    scores = one.tokens * one.keys * length * heads / one.tensor if one.scores else 0.0
    layer = HALF * (2 * one.tokens * _widths(model, one) + 3 * one.layer)
    layer += (2 * MASTER + HALF) * scores
    columns = cut(model, one.tensor).rows
    head = (2 * MASTER + HALF) * _chunk(model, train, one) * columns + (MASTER + HALF) * one.table
    return max(layer, head) + 2 * HALF * one.tokens * model.width
