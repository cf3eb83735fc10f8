"""What a train step asks of one chip, from the config alone: products, memory traffic and
collectives as our program has them, and about how much memory it takes. No compiler is asked.
"""

import math
from typing import NamedTuple

from launch.plan.chips import Chip
from launch.plan.work import Collective, Kind, Work
from model.attention.kernels import choose_kernel
from model.families.decoder_config import DecoderConfig
from model.flops import matrix_parameters
from train.config import TrainConfig
from train.loss import choose_chunk

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
    model: DecoderConfig,
    train: TrainConfig,
    length: int,
    sizes: dict[str, int],
    chip: Chip,
    *,
    packed: bool,
) -> Sizes:
    """The config and mesh as one chip sees them; ValueError for a dtype without a known peak."""
    if model.dtype == "float32":
        raise ValueError(
            "model.dtype=float32 must be bfloat16 here, because the peaks of chips are known for "
            "bfloat16 only; try --model.dtype bfloat16"
        )
    kernel = choose_kernel(
        model.attention,
        dtype="bfloat16",
        head_dim=model.head_dim,
        masks=model.masks(),
        backend=chip.platform,
    )
    D, F, H = model.embed_dim, model.mlp_dim, model.head_dim
    tensor = sizes.get("tensor", 1)
    cut = tensor if model.num_kv_heads % tensor == 0 else 1
    data = math.prod(sizes.get(axis, 1) for axis in ("replica", "fsdp", "expert"))
    return Sizes(
        fsdp=sizes.get("fsdp", 1),
        tensor=tensor,
        replica=sizes.get("replica", 1),
        tokens=train.batch_size * length / data / train.accumulation,
        layer=2 * D * H * (model.num_heads / tensor + model.num_kv_heads / cut)
        + (3 if model.gated else 2) * D * F / tensor,
        table=model.padded_vocab_size * D / tensor,
        tables=1 if model.tied_embedding else 2,
        keys=_keys(model, length, kernel, packed),
        scores=kernel in ("xla", "blocked"),
        again=recomputed(model) if model.remat == "full" else 0.0,
        attention=PASSES[kernel] + (model.remat != "none"),
    )


def _keys(model: DecoderConfig, length: int, kernel: str, packed: bool) -> float:
    """Share of the T x T scores that a kernel computes, on the average of the layers."""
    if kernel == "blocked":
        return 0.625 if length % 4 == 0 else 1.0
    if kernel == "cudnn":
        return 1.0 if packed or model.window is not None else 0.5
    if kernel == "xla":
        return 1.0
    dense = _blocks(length, length)
    if model.window is None:
        return dense
    banded = 1.0 if model.window_layers == "all" else model.num_layers // 2 / model.num_layers
    return banded * _blocks(length, model.window) + (1 - banded) * dense


def _blocks(length: int, window: int) -> float:
    """Share of blocks of scores, 512 tokens wide at most, that hold a key some query sees."""
    length += -length % 128
    size = math.gcd(length, 512)
    number, back = length // size, -(-(window - 1) // size)
    return sum(min(block, back) + 1 for block in range(number)) / number**2


def recomputed(model: DecoderConfig) -> float:
    """Share of a layer's forward products that its backward pass computes again if nothing of the
    layer is kept: all but the last of the residual branches, whose results it does not read."""
    D, heads = model.embed_dim, model.num_heads * model.head_dim
    last = D * model.mlp_dim + (D * heads if model.parallel_block else 0)
    return 1 - last * model.num_layers / matrix_parameters(model)


def work(
    model: DecoderConfig,
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


def work_of(model: DecoderConfig, train: TrainConfig, length: int, one: Sizes) -> Work:
    """One chip's work in one step, of the step as that chip sees it."""
    micro, L = train.accumulation, model.num_layers
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


def _layer_flops(model: DecoderConfig, length: int, one: Sizes) -> float:
    """Forward, twice that backward, and what the backward pass computes again."""
    forward = 2 * one.tokens * one.layer
    attention = 4 * one.tokens * length * one.keys * model.num_heads * model.head_dim / one.tensor
    return (3 + one.again) * forward + one.attention * attention


def _layer_traffic(model: DecoderConfig, length: int, one: Sizes) -> float:
    """Bytes of a layer's products and of what is computed between them, as if well fused."""
    widths = _widths(model, one)
    products = HALF * (one.tokens * 2 * widths + 2 * one.layer)
    scores = 0.0
    if one.scores:
        elements = one.tokens * length * one.keys * model.num_heads / one.tensor
        scores = one.attention * (2 * MASTER + 2 * HALF) * elements
    return (3 + one.again) * products + scores


def _widths(model: DecoderConfig, one: Sizes) -> float:
    """Channels of all activations of a layer that one chip holds of a token."""
    D, H = model.embed_dim, model.head_dim
    heads = (2 * model.num_heads + 2 * model.num_kv_heads) * H / one.tensor
    mlp = (3 if model.gated else 2) * model.mlp_dim / one.tensor
    return 4 * D + heads + mlp


def _head_traffic(model: DecoderConfig, train: TrainConfig, one: Sizes) -> float:
    """Logits made, read thrice and their gradient read twice; for every chunk of them the table is
    read twice and its float32 gradient read and written."""
    logits = one.tokens * model.padded_vocab_size / one.tensor
    chunks = math.ceil(one.tokens / _chunk(model, train, one))
    return (4 * MASTER + HALF) * logits + chunks * (2 * HALF + 2 * MASTER) * one.table


def _chunk(model: DecoderConfig, train: TrainConfig, one: Sizes) -> float:
    """Tokens whose logits exist at a time."""
    wanted = train.loss_chunk or choose_chunk(model.padded_vocab_size, "accelerator")
    return min(wanted, one.tokens)


def _update_traffic(model: DecoderConfig, train: TrainConfig, one: Sizes) -> float:
    """Parameters, gradient and moments read, all but the gradient written; micro-batches add up
    their gradients."""
    moments = 2 if train.optimizer.name == "adamw" else 1
    rounds = 3 + 2 * moments + (2 * train.accumulation if train.accumulation > 1 else 0)
    return rounds * MASTER * _held(model, one)


def _held(model: DecoderConfig, one: Sizes) -> float:
    """Parameters of one chip, without norms, biases and positions."""
    return (model.num_layers * one.layer + one.tables * one.table) / one.fsdp


def _collectives(model: DecoderConfig, micro: int, one: Sizes) -> list[Collective]:
    L, D = model.num_layers, model.embed_dim
    blocks = L * one.layer
    gradients = HALF * blocks + (HALF + MASTER) * one.table

    def over(axis: str, kind: Kind, count: int, size: float) -> Collective:
        """`count` collectives whose results have `size` bytes in all."""
        group = one._asdict()[axis]
        sent = size * (group - 1) / group * (2 if kind == "all-reduce" else 1)
        return Collective(kind, (axis,), group, count, sent)

    ends = 1 if model.parallel_block else 2
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
    model: DecoderConfig,
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
    copies = 1 if train.optimizer.name == "lion" else 2
    if train.optimizer.ema_decay is not None:
        copies += 1
    return Memory(
        parameters=held,
        optimizer=copies * held,
        gradients=held * (2 if train.accumulation > 1 else 1),
        activations=model.num_layers * HALF * one.tokens * _saved(model, length, one),
        temporaries=_temporaries(model, train, length, one),
    )


def _saved(model: DecoderConfig, length: int, one: Sizes) -> float:
    """Channels that a layer keeps of a token for the backward pass."""
    D, H = model.embed_dim, model.head_dim
    if model.remat in ("full", "offload"):
        return D
    products = (model.num_heads + 2 * model.num_kv_heads) * H + 2 * D * one.tensor
    products += (2 if model.gated else 1) * model.mlp_dim
    if model.remat == "dots":
        return D + products / one.tensor
    scores = 1.5 * one.keys * length * model.num_heads / one.tensor if one.scores else 0.0
    return _widths(model, one) + 2 * D + scores


def _temporaries(model: DecoderConfig, train: TrainConfig, length: int, one: Sizes) -> float:
    """The larger of a layer's backward pass and a chunk of the logits."""
    scores = one.tokens * one.keys * length * model.num_heads / one.tensor if one.scores else 0.0
    layer = HALF * (2 * one.tokens * _widths(model, one) + 3 * one.layer)
    layer += (2 * MASTER + HALF) * scores
    columns = model.padded_vocab_size / one.tensor
    head = (2 * MASTER + HALF) * _chunk(model, train, one) * columns + (MASTER + HALF) * one.table
    return max(layer, head) + 2 * HALF * one.tokens * model.embed_dim
