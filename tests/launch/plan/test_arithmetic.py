import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.extend import core

from launch.plan.work import Work, work_of
from launch.presets.preset import preset
from launch.run.build import fresh_state, step_arguments
from model.families.decoder_config import DecoderConfig
from model.families.family import FamilyConfig
from model.flops import matrix_parameters
from model.sharding import abstract_mesh
from tests.models import shapes_of
from train.config import OptimizerConfig, TrainConfig
from train.memory import array_bytes, device_step, step_memory
from train.step import make_train_step

SMALL = DecoderConfig(
    vocab_size=512,
    num_layers=6,
    embed_dim=64,
    num_heads=8,
    num_kv_heads=4,
    head_dim=16,
    mlp_dim=256,
    max_length=128,
    gated=True,
    bias=False,
    attention="xla",
    dtype="bfloat16",
)


def work(
    model: FamilyConfig,
    train: TrainConfig,
    length: int,
    sizes: dict[str, int],
    platform: str,
    *,
    packed: bool = True,
) -> Work:
    step = device_step(model, train, length, sizes, platform, packed=packed)
    return work_of(model, train, length, step)


def products(jaxpr: core.Jaxpr) -> float:
    """FLOPs of all matrix products of a traced program, bodies of loops counted by their trips."""
    total = 0.0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (summed, _), _ = eqn.params["dimension_numbers"]
            left: Any = eqn.invars[0].aval
            value: Any = eqn.outvars[0].aval
            total += 2 * math.prod(value.shape) * math.prod(left.shape[axis] for axis in summed)
        trips = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        total += trips * sum(products(inner) for inner in bodies(eqn.params))
    return total


def bodies(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, core.ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, core.Jaxpr):
                yield part


@pytest.mark.parametrize(
    ("changes", "accumulation"),
    [
        ({"remat": "none", "attention": "blocked"}, 1),
        ({"remat": "dots"}, 2),
        ({"remat": "full", "window": 16, "tied_embedding": False}, 2),
        ({"remat": "full", "parallel_block": True, "gated": False}, 1),
    ],
)
def test_products_are_those_of_the_traced_step(changes: dict[str, Any], accumulation: int) -> None:
    model = dataclasses.replace(SMALL, **changes)
    train = TrainConfig(steps=1, batch_size=4, accumulation=accumulation, loss_chunk=64)
    with jax.sharding.use_abstract_mesh(abstract_mesh()):
        state = jax.eval_shape(fresh_state(model, train))
        step = make_train_step(train)
        traced = jax.make_jaxpr(step)(*step_arguments(state, shapes_of(train.batch_size, 128)))
    assert work(model, train, 128, {}, "tpu").matmul_flops == products(traced.jaxpr)


@pytest.mark.parametrize("remat", ["none", "full"])
@pytest.mark.parametrize("name", ["bert-base", "modernbert-base"])
def test_products_of_encoders_are_those_of_the_traced_step(name: str, remat: str) -> None:
    """The table scores 32 of 128 places; a layer stands next to ModernBERT's stack."""
    small = {"num_layers": 4, "embed_dim": 64, "num_heads": 8, "head_dim": 8, "mlp_dim": 96}
    run = preset(name)
    changes = {**small, "attention": "xla", "dtype": "bfloat16", "remat": remat}
    model = dataclasses.replace(run.model, **changes, vocab_size=512)
    data = dataclasses.replace(run.data, sequence_length=128, masked_share=0.25)
    train = TrainConfig(steps=1, batch_size=4, loss_chunk=64)
    with jax.sharding.use_abstract_mesh(abstract_mesh()):
        state = jax.eval_shape(fresh_state(model, train))
        traced = jax.make_jaxpr(make_train_step(train))(
            *step_arguments(state, data.batch_shapes(train.batch_size))
        )
    step = device_step(model, train, 128, {}, "gpu", packed=True, scored=data.scored_share)
    assert work_of(model, train, 128, step).matmul_flops == products(traced.jaxpr)


@pytest.mark.parametrize(
    ("name", "remat", "sides"),
    [
        ("t5-v1.1-small", "none", {"target_length": 32}),
        ("t5-spans-small", "full", {}),
        ("transformer-base", "full", {"target_length": 160}),
    ],
)
def test_products_of_encoder_decoders_are_those_of_the_traced_step(
    name: str, remat: str, sides: dict[str, int]
) -> None:
    """Stacks of different depth, of which one reads 128 places and the other writes others."""
    small = {"num_layers": 2, "embed_dim": 64, "num_heads": 8, "head_dim": 8, "mlp_dim": 96}
    run = preset(name)
    changes = {**small, "attention": "xla", "dtype": "bfloat16", "remat": remat, "vocab_size": 512}
    model = dataclasses.replace(run.model, **changes, decoder_layers=3)
    data = dataclasses.replace(run.data, sequence_length=128, **sides)
    train = TrainConfig(steps=1, batch_size=4, loss_chunk=64)
    with jax.sharding.use_abstract_mesh(abstract_mesh()):
        state = jax.eval_shape(fresh_state(model, train))
        traced = jax.make_jaxpr(make_train_step(train))(
            *step_arguments(state, data.batch_shapes(train.batch_size))
        )
    step = device_step(model, train, 128, {}, "gpu", packed=True, scored=data.scored_share)
    assert work_of(model, train, 128, step).matmul_flops == pytest.approx(
        products(traced.jaxpr), rel=1e-12
    )


def test_collectives_of_llama_by_hand() -> None:
    """fsdp 16 x tensor 4, two replicas, 8 micro-batches of 4 rows a shard, all recomputed."""
    run = preset("llama3-8b")
    model = dataclasses.replace(run.model, remat="full")
    train = dataclasses.replace(run.train, accumulation=8)
    result = work(model, train, 8192, {"replica": 2, "fsdp": 16, "tensor": 4}, "tpu")
    layer = (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336) / 4
    table = 128_256 * 4096 / 4
    rows = 8 * 1024 / (2 * 16 * 8) / 8
    sent = {
        ("all-gather", "fsdp"): 8 * 2 * (2 * 32 * layer + 2 * table) * 15 / 16,
        ("reduce-scatter", "fsdp"): 8 * (2 * 32 * layer + 6 * table) * 15 / 16,
        ("all-reduce", "replica"): 2 * 8 * (2 * 32 * layer + 6 * table) / 16 * 1 / 2,
        ("all-reduce", "tensor"): 2 * 8 * 2 * (32 * 5 + 2) * rows * 8192 * 4096 * 3 / 4,
    }
    assert {part.axes for part in result.collectives} == {("fsdp",), ("replica",), ("tensor",)}
    for (kind, axis), size in sent.items():
        parts = [p for p in result.collectives if (p.kind, p.axes) == (kind, (axis,))]
        assert sum(part.bytes for part in parts) == pytest.approx(size)


def test_memory_traffic_of_a_small_step_by_hand() -> None:
    """Two micro-batches of 256 tokens, logits of 128 at a time. Of a token 4 x 64 channels around a
    layer, 24 x 16 of heads and 3 x 256 of the feed-forward layer are written and read, and weights
    read and written, in each of three passes; AdamW reads four arrays and writes three, and two
    sums of gradients are read and written."""
    model = dataclasses.replace(SMALL, attention="splash")
    train = TrainConfig(steps=1, batch_size=4, accumulation=2, loss_chunk=128)
    layer, table = 2 * 64 * 16 * (8 + 4) + 3 * 64 * 256, 512 * 64
    activations, weights = 256 * (4 * 64 + 24 * 16 + 3 * 256), layer
    layers = 6 * 3 * 2 * (2 * activations + 2 * weights)
    head = (4 * 4 + 2) * 256 * 512 + 2 * (2 * 2 + 2 * 4) * table
    update = (4 + 3 + 2 * 2) * 4 * (6 * layer + table)
    assert work(model, train, 128, {}, "tpu").memory_bytes == 2 * (layers + head) + update


def test_a_single_chip_talks_to_nobody() -> None:
    assert work(SMALL, TrainConfig(steps=1, batch_size=4), 128, {}, "tpu").collectives == ()


def test_heads_that_tensor_does_not_divide_are_computed_by_every_chip() -> None:
    """With one key head tensor 4 cuts all of a layer but w_k and w_v."""
    model = dataclasses.replace(SMALL, num_kv_heads=1)
    train = TrainConfig(steps=1, batch_size=4)
    each, four = (work(model, train, 128, {"tensor": n}, "tpu").matmul_flops for n in (1, 4))
    keys = 3 * 2 * (2 * 64 * 16) * 4 * 128 * model.num_layers
    assert four == pytest.approx((each - keys) / 4 + keys)


def test_only_rows_of_a_single_document_spare_cudnn_the_later_keys() -> None:
    model = dataclasses.replace(SMALL, attention="auto")
    train = TrainConfig(steps=1, batch_size=4)
    packed, plain = (
        work(model, train, 128, {}, "gpu", packed=packed).matmul_flops for packed in (True, False)
    )
    scores = 3.5 * 4 * 4 * 128 * 128 * 8 * 16 * model.num_layers
    assert packed - plain == pytest.approx(scores / 2)


def test_splash_computes_the_blocks_with_a_visible_key() -> None:
    """Of 2 x 2 blocks of 512 tokens 3, in every other layer with a window of 1 only 2; one pass
    forward, 3.5 backward."""
    dense = dataclasses.replace(SMALL, attention="splash")
    banded = dataclasses.replace(dense, window=1)
    train = TrainConfig(steps=1, batch_size=2)
    whole = 4 * 2 * 1024 * 1024 * 8 * 16 * 4.5
    bare = work(dense, train, 1024, {}, "tpu").matmul_flops - 6 * whole * 3 / 4
    assert bare == pytest.approx(3 * 2 * 2 * 1024 * (matrix_parameters(SMALL) + 512 * 64))
    both = work(banded, train, 1024, {}, "tpu").matmul_flops
    assert both - bare == pytest.approx(3 * whole * (3 / 4 + 2 / 4))


def totals(result: Work) -> tuple[float, float, float]:
    return result.matmul_flops, result.memory_bytes, sum(part.bytes for part in result.collectives)


@given(
    remat=st.sampled_from(["none", "dots", "full"]),
    fsdp=st.sampled_from([1, 4, 16]),
    tensor=st.sampled_from([1, 2, 8]),
    platform=st.sampled_from(["tpu", "gpu"]),
)
def test_twice_the_rows_are_twice_the_products_and_no_less_of_all(
    remat: str, fsdp: int, tensor: int, platform: str
) -> None:
    model = dataclasses.replace(SMALL, remat=remat, attention="auto")
    sizes = {"fsdp": fsdp, "tensor": tensor}
    few, many = (TrainConfig(steps=1, batch_size=rows) for rows in (16, 32))
    less, more = (work(model, train, 128, sizes, platform) for train in (few, many))
    assert more.matmul_flops == pytest.approx(2 * less.matmul_flops)
    assert all(a <= b for a, b in zip(totals(less), totals(more), strict=True))
    memory, fuller = (step_memory(model, train, 128, sizes, platform) for train in (few, many))
    assert memory.total <= fuller.total
    assert memory[:3] == fuller[:3]


def test_recomputing_more_keeps_less() -> None:
    run = preset("llama3-8b")
    sizes, train = {"fsdp": 16, "tensor": 4}, dataclasses.replace(run.train, accumulation=16)

    def kept(remat: str) -> float:
        model = dataclasses.replace(run.model, remat=remat)
        return step_memory(model, train, 8192, sizes, "gpu").activations

    assert kept("none") > kept("dots") > kept("full") == kept("offload")


@pytest.mark.parametrize("remat", ["none", "full"])
def test_temporaries_are_of_the_stack_that_takes_most(remat: str) -> None:
    """However many layers the other has."""
    run = preset("t5-spans-base")
    temporaries = set()
    for layers in (1, 12, 48):
        changes = {"decoder_layers": layers, "attention": "xla", "remat": remat}
        model = dataclasses.replace(run.model, **changes)
        train = dataclasses.replace(run.train, loss_chunk=8)
        share = run.data.scored_share
        memory = step_memory(model, train, 512, {"fsdp": 8}, "gpu", scored=share)
        temporaries.add(memory.temporaries)
    assert len(temporaries) == 1


def test_state_has_nearly_the_bytes_of_its_shapes() -> None:
    """Norms are left out, and the moving average stands with the moments."""
    model = dataclasses.replace(preset("llama3-1b").model, vocab_multiple=64)
    train = TrainConfig(steps=1, batch_size=64, optimizer=OptimizerConfig(ema_decay=0.9))
    sizes = {"fsdp": 8, "tensor": 4}
    with jax.sharding.use_abstract_mesh(abstract_mesh(**sizes)):
        state = jax.eval_shape(fresh_state(model, train))
    memory = step_memory(model, train, 2048, sizes, "tpu")
    parameters = array_bytes(state.model).device
    assert memory.parameters == pytest.approx(parameters, rel=2e-3)
    rest = array_bytes(state.optimizer).device + array_bytes(state.average).device
    assert memory.optimizer == pytest.approx(rest, rel=2e-3)


def test_a_type_without_known_peaks_is_refused() -> None:
    model = dataclasses.replace(SMALL, dtype="float32")
    with pytest.raises(ValueError, match=r"model\.dtype=float32 must be bfloat16 here"):
        work(model, TrainConfig(steps=1, batch_size=4), 128, {}, "tpu")
