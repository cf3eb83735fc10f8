"""Convolutional networks: against a plain NumPy forward, on every mesh, and what they refuse."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.errors import UserError
from model.channel_norm import GroupNorm
from model.convolution import Convolution, Depthwise, SlidingWindow, max_pool
from model.drop_path import drop_path
from model.families.convnet import Convnet
from model.families.convnet_config import ConvnetConfig
from model.head_config import HeadConfig
from model.sharding import abstract_mesh
from model.weights import param, shapes_of
from tests.convnets import BASIC, NETWORKS, batch_for, network
from tests.families import QUICK
from tests.models import mesh_of, placed
from tests.system.test_mesh_parity import COMPLAINT, compiled_again  # noqa: F401


def seen(x: np.ndarray, window: SlidingWindow, fill: float = 0.0) -> np.ndarray:
    """What each place of the output sees, [B, *out, taps, C], by plain loops."""
    padded = np.pad(x, [(0, 0), *window.pads(x.shape[1:-1]), (0, 0)], constant_values=fill)
    ends = [range(0, n - window.size + 1, window.stride) for n in padded.shape[1:-1]]
    out = np.empty((len(x), *map(len, ends), window.size**window.dimensions, x.shape[-1]))
    for place in itertools.product(*map(enumerate, ends)):
        part = padded[(slice(None), *(slice(at, at + window.size) for _, at in place))]
        out[(slice(None), *(n for n, _ in place))] = part.reshape(len(x), -1, x.shape[-1])
    return out


WINDOWS = [
    SlidingWindow(1, 8),
    SlidingWindow(2, 3, 2, "ends"),
    SlidingWindow(2, 4, 3, "none"),
    SlidingWindow(2, 1, 2),
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_convolutions_are_sums_over_what_a_place_sees(window: SlidingWindow) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2, *(7, 10)[: window.dimensions], 6)).astype(np.float32)
    with jax.set_mesh(mesh_of()):
        key, image = jax.random.key(0), jnp.asarray(x)
        convolution = Convolution(param, key, 6, 4, window, backend="cpu", bias=True)
        each = [Depthwise(param, key, 6, window, backend=backend) for backend in ("cpu", "gpu")]
        ask = jax.jit(lambda x: ([part(x) for part in (convolution, *each)], max_pool(x, window)))
        (summed, *by_channel), largest = ask(image)
    w = np.moveaxis(np.asarray(convolution.w[...]), 0, -2).reshape(-1, 6, 4)
    wanted = np.einsum("...tc,tco->...o", seen(x, window), w)
    np.testing.assert_allclose(summed, wanted, atol=3e-6)
    for depthwise, y in zip(each, by_channel, strict=True):
        w = np.asarray(depthwise.w[...]).reshape(-1, 6)
        np.testing.assert_allclose(y, np.einsum("...tc,tc->...c", seen(x, window), w), atol=3e-6)
    wanted = seen(x, window, -np.inf).max(-2).astype(np.float32)
    np.testing.assert_array_equal(largest, wanted)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_gradients_of_taps_are_those_of_a_convolution(window: SlidingWindow) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2, *(11, 10)[: window.dimensions], 6)).astype(np.float32)
    with jax.set_mesh(mesh_of()):
        key, image = jax.random.key(0), jnp.asarray(x)
        each = [Depthwise(param, key, 6, window, backend=backend) for backend in ("cpu", "gpu")]

        def weighed(part: Depthwise, x: jax.Array) -> jax.Array:
            y = part(x)
            return jnp.sum(y * jnp.arange(y.size).reshape(y.shape)) / y.size

        gradient = jax.grad(weighed, argnums=(0, 1))
        ours, wanted = jax.jit(lambda x: [jax.tree.leaves(gradient(part, x)) for part in each])(
            image
        )
    for leaf, other in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(leaf, other, atol=2e-6 * np.abs(other).max())


def test_group_norm_is_of_an_image_alone() -> None:
    draw = np.random.default_rng(0)
    x = (3 + draw.normal(size=(4, 5, 3, 6))).astype(np.float32)
    with jax.set_mesh(mesh_of()):
        norm = GroupNorm(param, 6, groups=2, epsilon=1e-5, start=1.0)
        normed = jax.jit(norm)
        y, alone = np.asarray(normed(x)), np.asarray(normed(x[:1]))
    groups = x.reshape(4, 15, 2, 3)
    mean = groups.mean((1, 3), keepdims=True)
    wanted = (groups - mean) / np.sqrt(groups.var((1, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, wanted.reshape(x.shape), atol=2e-6)
    np.testing.assert_array_equal(y[:1], alone)


def test_a_branch_is_left_out_for_whole_images() -> None:
    with jax.set_mesh(mesh_of()):
        x = jnp.ones((400, 2, 3))
        y = np.asarray(drop_path(x, 0.25, jax.random.key(0)))
        assert drop_path(x, 0.25, None) is x
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert (np.ptp(y.reshape(400, -1), axis=1) == 0).all()
    assert y.mean() == pytest.approx(1, abs=0.1)


MESHES = {
    "fsdp": {"fsdp": 2},
    "replica": {"replica": 2},
    "tensor": {"tensor": 2},
    "all": {"replica": 2, "fsdp": 2, "tensor": 2},
}
SHORT = [("inverted", "all")]
"""The others are long tests."""
FAR = 4e-6
"""Distance at most, as a share of a leaf's largest entry; 2e-6 was seen."""


def loss(model: Convnet, batch: Any) -> jax.Array:
    """Cross entropy, with stochastic depth and dropout."""
    rows, head = batch[0], model.task_head
    own, last = jax.random.split(jax.random.key(3))
    scores = head.logits(head(head.pool(model(rows, key=own)), last))[:, 0]
    right = jnp.take_along_axis(scores, batch.targets[:, None], axis=1)[:, 0]
    return jnp.sum(batch.weights * (jax.nn.logsumexp(scores, axis=-1) - right))


@functools.cache
def loss_and_gradients(kind: str, mesh: str | None) -> tuple[float, dict[str, np.ndarray]]:
    with jax.set_mesh(mesh_of(**(MESHES[mesh] if mesh else {}))):
        step = jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)
        value, grads = step(network(NETWORKS[kind]), placed(batch_for(kind)))
        leaves, _ = jax.tree.flatten_with_path(grads)
        return float(value), {jax.tree_util.keystr(p): np.asarray(g) for p, g in leaves}


@pytest.mark.parametrize(
    ("kind", "mesh"),
    [
        pytest.param(kind, mesh, marks=[] if (kind, mesh) in SHORT else [pytest.mark.long])
        for kind in NETWORKS
        for mesh in MESHES
    ],
)
@pytest.mark.usefixtures("compiled_again")
def test_loss_and_gradients_are_those_of_a_single_device(
    kind: str, mesh: str, capfd: pytest.CaptureFixture[str]
) -> None:
    value, grads = loss_and_gradients(kind, mesh)
    assert COMPLAINT not in capfd.readouterr().err
    wanted_value, wanted = loss_and_gradients(kind, None)
    assert value == pytest.approx(wanted_value, rel=2e-6)
    frozen = [n for n in wanted if ".norm." in n] if NETWORKS[kind].norm == "affine" else []
    for name, leaf in wanted.items():
        assert (name in frozen) == (not leaf.any()), name
        assert np.abs(grads[name] - leaf).max() <= FAR * np.abs(leaf).max(), name


@pytest.mark.parametrize(
    ("changes", "shape", "said"),
    [
        ({"norm": "batch"}, None, r"model.norm=batch must be .* try --model.norm group"),
        ({"channels": (16, 8)}, None, r"model.channels=\(16, 8\) must have 1 numbers"),
        ({"depths": ()}, None, r"must have"),
        ({"groups": 5}, None, r"model.groups=5 must divide the 16 .* try --model.groups 1"),
        ({"head": HeadConfig()}, None, r"model.head.kind=language must be labels or tags"),
        (
            {"head": HeadConfig(kind="labels", outputs=2)},
            None,
            "model.head.pooling=first must be mean, .* try --model.head.pooling mean",
        ),
        ({"expansions": (3,), "block": "bottleneck"}, None, r"must divide model.channels of 32"),
        ({}, (10, 12, 1), r"model.input_channels=3 must be 1, .* --model.input-channels 1"),
        ({}, (10, 3), "model.dimensions=2 must be 1, because the data are series"),
        ({}, (3, 12, 3), "must have at least 4 along"),
    ],
)
def test_what_it_cannot_be_is_refused(
    changes: dict[str, Any], shape: tuple[int, ...] | None, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        config = dataclasses.replace(BASIC, **changes)
        config.require_input(shape) if shape else shapes_of(config)


@pytest.mark.parametrize("remat", ["none", "dots", "full"])
def test_what_is_computed_again_is_not_what_was_computed(remat: Any) -> None:
    with jax.set_mesh(mesh_of()):
        model = network(dataclasses.replace(BASIC, remat=remat))
        program = jax.jit(jax.grad(loss)).lower(model, placed(batch_for("basic"))).as_text()
    assert program.count("optimization_barrier") == (0 if remat == "none" else BASIC.depth)


def test_places_are_not_cut() -> None:
    cut = jax.sharding.use_abstract_mesh(abstract_mesh(context=2))
    with cut, pytest.raises(UserError, match=r"mesh.context=2 must be 1 for model.kind=convnet"):
        jax.eval_shape(lambda: Convnet(BASIC, jax.random.key(0)))


def test_how_it_is_convolved_follows_the_backend() -> None:
    config = ConvnetConfig()
    assert config.resolve("gpu").convolutions == "gpu"
    assert dataclasses.replace(config, convolutions="cpu").resolve("tpu").convolutions == "cpu"


def test_what_is_asked_of_patches_is_asked_of_the_last_map() -> None:
    tags = dataclasses.replace(BASIC, head=HeadConfig(kind="tags", outputs=3))
    assert tags.questions == ("labels of patches",) and tags.reduction == 4
    with jax.set_mesh(mesh_of()):
        model = jax.eval_shape(lambda: Convnet(tags, jax.random.key(0)))
        images = jnp.zeros((2, 8, 12, 3))
        scores = jax.eval_shape(lambda m, x: m.task_head.logits(m.task_head(m(x))), model, images)
    assert scores.shape == (2, 2 * 3, 3)
