"""Encoder-decoders: both sides hear what they may, on any mesh."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from data.batch import SourceTargetRows
from model.attention.mask import TokenPlaces
from model.families.encoder_decoder import EncoderDecoder
from model.families.encoder_decoder_config import EncoderDecoderConfig
from model.head_config import HeadConfig
from model.sharding import spec
from tests.families import QUICK
from tests.launch.plan.test_arithmetic import bodies
from tests.models import mesh_of
from train.config import TrainConfig
from train.objective import written_targets

SMALL = EncoderDecoderConfig(
    vocab_size=29,
    vocab_multiple=8,
    num_layers=1,
    decoder_layers=2,
    embed_dim=16,
    num_heads=4,
    head_dim=4,
    mlp_dim=32,
    max_length=16,
    init_std=0.3,
    norm="rmsnorm",
    bias=False,
    relative_buckets=8,
    relative_distance=6,
    scale_scores=False,
    scale_logits=True,
    dtype="float32",
    attention="xla",
)
VASWANI = dataclasses.replace(
    SMALL,
    norm="layernorm",
    bias=True,
    positions="sinusoidal",
    norm_place="after",
    scale_scores=True,
    scale_embedding=True,
    scale_logits=False,
)
LEARNED = dataclasses.replace(VASWANI, positions="learned", gated=True, tied_embedding=False)
KINDS = {"t5": SMALL, "vaswani": VASWANI, "learned": LEARNED}
S, T = 12, 8


def fresh(config: EncoderDecoderConfig) -> EncoderDecoder:
    return jax.jit(lambda: EncoderDecoder(config, jax.random.key(0)), compiler_options=QUICK)()


def drawn(B: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.integers(0, 29, (B, S)), draw.integers(0, 29, (B, T))


def asked(B: int) -> SourceTargetRows:
    """Two pairs a row, of different lengths."""
    sources, tokens = drawn(B)
    sides = []
    for length in (S, T):
        place, border = np.arange(length)[None], np.arange(3, 3 + B)[:, None] % (length - 1) + 1
        second = place >= border
        sides += [np.where(second, place - border, place), second + 1]
    read, segments, positions, own = (side.astype(np.int32) for side in sides)
    ids = (sources.astype(np.int32), read, segments, tokens.astype(np.int32))
    targets = np.roll(ids[3], -1, axis=1)
    return SourceTargetRows(*ids, targets, positions, own, (own > 1) + np.float32(1))


def loss(model: EncoderDecoder, batch: SourceTargetRows) -> tuple[jax.Array, jax.Array]:
    """Minimized with smoothed targets, and reported without them; with dropout, whose bits are the
    same on every mesh."""
    config = TrainConfig(steps=1, batch_size=8, loss_chunk=8, label_smoothing=0.1)
    sums = written_targets(model, batch, config, jax.random.key(1))
    return sums.minimized, sums.loss


def counted(jaxpr: core.Jaxpr, primitive: str) -> int:
    """How often a traced program runs a primitive, bodies of loops counted by their trips."""
    total = 0
    for eqn in jaxpr.eqns:
        trips = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        inside = sum(counted(inner, primitive) for inner in bodies(eqn.params))
        total += (eqn.primitive.name == primitive) + trips * inside
    return total


@pytest.mark.parametrize(
    ("kind", "kernel"),
    [("t5", "blocked"), pytest.param("vaswani", "xla", marks=pytest.mark.long)],
)
def test_the_loss_and_its_gradients_are_the_same_on_a_mesh(kind: str, kernel: str) -> None:
    config = dataclasses.replace(KINDS[kind], attention=kernel)
    results = []
    for sizes in ({}, {"replica": 2, "fsdp": 2, "tensor": 2}):
        with jax.set_mesh(mesh_of(**sizes)):
            batch = jax.device_put(asked(8), spec("batch", "length"))
            run = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)
            results.append(jax.tree.map(np.asarray, run(fresh(config), batch)))
    ((minimized, reported), whole), (on_mesh, cut) = results
    np.testing.assert_allclose(on_mesh, (minimized, reported), rtol=2e-6)
    assert abs(minimized - reported) > 1e-3 * reported
    theirs = jax.tree_util.tree_leaves_with_path(whole)
    for (path, wanted), ours in zip(theirs, jax.tree.leaves(cut), strict=True):
        # Those of the biases of keys are rounding alone: softmax does not hear them.
        if "b_k" not in (name := jax.tree_util.keystr(path)):
            largest = np.abs(wanted).max()
            assert largest > 0, name
            np.testing.assert_allclose(ours, wanted, rtol=0, atol=2e-5 * largest, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_hears_all_of_the_source_and_no_later_target(kind: str) -> None:
    sources, tokens = drawn(1)
    with jax.set_mesh(mesh_of()):
        model = fresh(KINDS[kind])
        run = jax.jit(lambda *row: model(*row), compiler_options=QUICK)
        before = np.asarray(run(sources, tokens))
        for place in range(S):
            changed = sources.copy()
            changed[0, place] = (changed[0, place] + 1) % 29
            assert (np.abs(np.asarray(run(changed, tokens)) - before).max(axis=-1) > 0).all()
        changed = tokens.copy()
        changed[0, 5] = (changed[0, 5] + 1) % 29
        heard = np.abs(np.asarray(run(sources, changed)) - before).max(axis=-1)[0] > 0
    assert heard.tolist() == [False] * 5 + [True] * 3


@pytest.mark.parametrize("kernel", ["xla", "blocked"])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_pairs_are_what_they_are_alone(kind: str, kernel: str) -> None:
    """Sources of 7 and 4 tokens, targets of 3 and 5, and padding after them."""
    sources, tokens = drawn(1)
    lengths = ((7, 4, 1), (3, 5, 0))
    places = [
        TokenPlaces(
            jnp.concatenate([jnp.arange(n) for n in each])[None],
            jnp.repeat(jnp.array([1, 2, 0]), jnp.array(each), total_repeat_length=sum(each))[None],
        )
        for each in lengths
    ]
    with jax.set_mesh(mesh_of()):
        model = fresh(dataclasses.replace(KINDS[kind], attention=kernel))
        run = jax.jit(lambda *row: model(*row), compiler_options=QUICK)
        packed = run(sources, tokens, *places)
        alone = [run(sources[:, :7], tokens[:, :3]), run(sources[:, 7:11], tokens[:, 3:])]
    np.testing.assert_allclose(packed, np.concatenate(alone, 1), rtol=1e-4, atol=1e-5)


def test_dropout_is_drawn_by_its_key_alone() -> None:
    config = dataclasses.replace(SMALL, dropout=0.5)
    sources, tokens = drawn(2)
    with jax.set_mesh(mesh_of()):
        model = fresh(config)
        run = jax.jit(lambda key, *row: model(*row, key=key), compiler_options=QUICK)
        first, again, second = (
            np.asarray(run(jax.random.key(n), sources, tokens)) for n in (0, 0, 1)
        )
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()


def test_dropout_stands_at_the_embeddings_and_at_every_sublayer() -> None:
    """Draws, those of scanned layers counted by their number: a layer that reads has two sublayers,
    one that writes three."""
    config = dataclasses.replace(SMALL, dropout=0.5)
    sources, tokens = drawn(2)
    with jax.set_mesh(mesh_of()):
        shapes = jax.eval_shape(lambda: EncoderDecoder(config, jax.random.key(0)))
        trace = jax.make_jaxpr(lambda model, key, *row: model(*row, key=key))
        traced = trace(shapes, jax.random.key(0), *map(jnp.asarray, (sources, tokens)))
    draws = counted(traced.jaxpr, "random_bits")
    assert draws == 2 + 2 * config.num_layers + 3 * config.writing_layers


def test_what_does_not_go_together_is_refused() -> None:
    for changes, words in (
        ({"head": HeadConfig(kind="labels", outputs=2)}, r"model\.head\.kind=labels must be lang"),
        ({"relative_buckets": 6}, r"model\.relative_buckets=6 must be a multiple of 4"),
        ({"relative_distance": 4}, r"model\.relative_distance=4 must be more than half of"),
    ):
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(SMALL, **changes)
    assert SMALL.with_depth(2).depth == 2
    with pytest.raises(ValueError, match="1 layers must be at least 2, because those of both"):
        SMALL.with_depth(1)
