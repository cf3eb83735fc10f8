"""What a train step takes of a device's memory: bytes of arrays, an estimate from the config."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax

from data.errors import UserError
from model.attention.kernels import kernel_named
from model.families.family import FamilyConfig
from model.sharding import batch_shards
from train.config import TrainConfig
from train.cut import cut, recomputed
from train.loss import choose_chunk
from train.optimizer.memory import PARAMETER, kept

HALF = 2
"""Bytes of an activation, and of a weight or gradient on its way: bfloat16."""


class ArrayBytes(NamedTuple):
    """Bytes of a pytree."""

    total: int
    """Of all shards once, copies left out."""
    device: int
    """On each device."""


def array_bytes(tree: Any) -> ArrayBytes:
    """Bytes of the arrays, or shapes, of a pytree; those without a sharding are on every device."""
    total = device = 0
    for leaf in jax.tree.leaves(tree):
        width = leaf.dtype.itemsize
        local = leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)
        total += math.prod(leaf.shape) * width
        device += math.prod(local) * width
    return ArrayBytes(total, device)


class LayerStep(NamedTuple):
    """A layer of one stack in a step, as one device sees it."""

    width: float
    """Channels of the residual stream, as of `DeviceStep`."""
    elements: float
    """Of its matrices, cut over `tensor` and gathered over `fsdp`."""
    channels: float
    """Of all its activations."""


class DeviceStep(NamedTuple):
    """A step as one device of an accelerator sees it."""

    fsdp: int
    tensor: int
    replica: int
    tokens: float
    """Of one micro-batch."""
    width: float
    """Channels of the residual stream that a layer has of a token. This and what follows for layers
    are means over all, and over a row's places."""
    layer: float
    """Elements of a layer's matrices, cut over `tensor` and gathered over `fsdp`."""
    products: float
    """The same, each as often as a row's places meet it."""
    table: float
    """Elements of one [V, D] table, cut and gathered in the same way."""
    parameters: float
    """Elements that it keeps, without norms, biases and positions."""
    head: float
    """Elements of the head's matrices, cut and gathered in the same way."""
    scored: float
    """Tokens of one micro-batch that the table scores."""
    channels: float
    """Of all activations of a layer."""
    rows: float
    """V, of one table."""
    chunk: float
    """Tokens whose logits exist at a time."""
    scores_share: float
    """Share of the T x T scores that the attention kernel computes."""
    most_scores: float
    """The same of the attention that has most, of one layer."""
    keeps_scores: bool
    """Whether the kernel writes scores to memory."""
    layers: tuple[LayerStep, ...]
    """Of each stack."""
    recomputed: float
    """Share of a layer's forward products that the backward pass computes again."""
    attention_passes: float
    """Forward passes that attention costs, backward pass and recomputation included."""


def device_step(
    model: FamilyConfig,
    train: TrainConfig,
    length: int,
    sizes: dict[str, int],
    platform: str,
    *,
    packed: bool,
    scored: float = 1.0,
) -> DeviceStep:
    """The config on a mesh of those axis sizes as one device sees it.

    `packed` rows carry segment ids, so that no kernel can skip the keys after a query; the table
    scores the share `scored` of their places. Raises ValueError for a dtype without a known peak
    and for a family whose parts are not known.
    """
    if model.dtype == "float32":
        raise UserError(
            "model.dtype=float32 must be bfloat16 here, because the peaks of chips are known for "
            "bfloat16 only; try --model.dtype bfloat16"
        )
    fsdp, tensor = sizes.get("fsdp", 1), sizes.get("tensor", 1)
    local, stacks = cut(model, tensor, scored), model.stacks(scored)
    kernel = kernel_named(_kernel(model, platform))
    tokens = train.batch_size * length / batch_shards(sizes) / train.accumulation
    layer, table, head = local.layer, local.tables[0], sum(local.head.values())
    places = sum(stack.layers * stack.places for stack in stacks) / model.depth
    sums = sum(max(2, each.sums) * each.layers * each.places for each in stacks) / model.depth
    scores = most = 0.0
    for _, _, windows, causal, queries, keys in model.attentions(scored):
        share = kernel.causal_share(windows, round(keys * length), packed) if causal else 1.0
        own = share * queries * keys
        scores += own * (sum(n for _, n in windows) / model.depth)
        most = max(most, own)
    chunk = train.loss_chunk or choose_chunk(model.table_rows, "accelerator")
    return DeviceStep(
        fsdp=fsdp,
        tensor=tensor,
        replica=sizes.get("replica", 1),
        tokens=tokens,
        width=places * model.width,
        layer=layer,
        products=local.products,
        table=table,
        parameters=(model.depth * layer + len(local.tables) * table + head) / fsdp,
        head=head,
        scored=tokens * scored,
        channels=2 * sums * model.width + local.split_channels,
        rows=local.rows,
        chunk=min(chunk, max(1.0, tokens * scored)),
        scores_share=scores,
        most_scores=most,
        keeps_scores=kernel.keeps_scores,
        layers=tuple(
            LayerStep(
                width=stack.places * model.width,
                elements=own.elements,
                channels=2 * max(2, stack.sums) * stack.places * model.width + own.split_channels,
            )
            for stack, own in zip(stacks, local.layers, strict=True)
        ),
        recomputed=recomputed(model, scored) if model.remat == "full" else 0.0,
        attention_passes=kernel.passes + (model.remat != "none"),
    )


@functools.lru_cache(maxsize=4096)
def _kernel(model: FamilyConfig, platform: str) -> str:
    """The attention kernel of the model on such devices, in bfloat16."""
    return dataclasses.replace(model, dtype="bfloat16").resolve(platform).kernel


class StepMemory(NamedTuple):
    """Bytes of a device at a step's peak, by arithmetic: an estimate, not what a compiler
    allots."""

    parameters: float
    optimizer: float
    gradients: float
    activations: float
    temporaries: float

    @property
    def total(self) -> float:
        return sum(self)


def step_memory(
    model: FamilyConfig,
    train: TrainConfig,
    length: int,
    sizes: dict[str, int],
    platform: str,
    *,
    packed: bool = True,
    scored: float = 1.0,
) -> StepMemory:
    """About what a device will hold at the step's peak; arguments and errors of `device_step`."""
    step = device_step(model, train, length, sizes, platform, packed=packed, scored=scored)
    parameters = PARAMETER * step.parameters
    return StepMemory(
        parameters=parameters,
        optimizer=kept(train.optimizer, model) * parameters,
        gradients=parameters * (2 if train.accumulation > 1 else 1),
        activations=model.depth * HALF * step.tokens * _saved(model, length, step),
        temporaries=_temporaries(model, length, step),
    )


def _saved(model: FamilyConfig, length: int, step: DeviceStep) -> float:
    """Channels that a layer keeps of a token for the backward pass."""
    D = step.width
    if model.remat in ("full", "offload"):
        return D
    if model.remat == "dots":
        local = cut(model, step.tensor, step.scored / step.tokens)
        return D + local.split_outputs / step.tensor + local.whole_outputs
    scores = 0.0
    if step.keeps_scores:
        scores = 1.5 * step.scores_share * length * model.attended.heads / step.tensor
    return step.channels + 2 * D + scores


def _temporaries(model: FamilyConfig, length: int, step: DeviceStep) -> float:
    """The larger of a layer's backward pass, in the stack where it takes most, and a chunk of the
    logits."""
    scores = 0.0
    if step.keeps_scores:
        scores = step.tokens * step.most_scores * length * model.attended.heads / step.tensor
    layer = HALF * max(2 * step.tokens * each.channels + 3 * each.elements for each in step.layers)
    layer += (2 * PARAMETER + HALF) * scores
    head = (2 * PARAMETER + HALF) * step.chunk * step.rows + (PARAMETER + HALF) * step.table
    width = max(each.width for each in step.layers)
    return max(layer, head) + 2 * HALF * step.tokens * width
