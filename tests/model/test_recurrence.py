"""Recurrent layers against torch, over packed rows, and their gradient against JAX's own."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.recurrence import CELLS, Recurrence, begins, ends, forward, recur
from model.recurrent_layers import RecurrentLayers
from model.weights import param
from tests.families import QUICK
from tests.models import mesh_of
from tests.oracles.recurrence import (
    GOLDEN,
    NAMES,
    D,
    H,
    L,
    inputs,
    load,
    load_layers,
    torch_weights,
)

KINDS = sorted(CELLS)


@pytest.fixture(autouse=True)
def _mesh() -> Iterator[None]:
    with jax.set_mesh(mesh_of()):
        yield


def layers_of(kind: str) -> RecurrentLayers:
    layers = RecurrentLayers(
        param, jax.random.key(0), D, H, L, kind=kind, bidirectional=True, rate=0.0
    )
    load_layers(layers, torch_weights(kind))
    return layers


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients_are_those_of_torch(kind: str) -> None:
    x, segments = jnp.asarray(inputs()), jnp.ones(inputs().shape[:2], jnp.int32)

    def total(layers: RecurrentLayers, x: Any) -> Any:
        y = layers(x, segments).x
        return jnp.sum(jnp.sin(y)), y

    step = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True), compiler_options=QUICK)
    (layers, d_x), y = step(layers_of(kind), x)
    golden = np.load(GOLDEN)
    np.testing.assert_allclose(y, golden[f"{kind}/outputs"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(d_x, golden[f"{kind}/inputs gradient"], rtol=0, atol=5e-6)
    for number, layer in enumerate(layers.layers):
        for own, end in zip(layer, ("", "_reverse"), strict=True):
            wanted = [golden[f"{kind}/{name}_l{number}{end}"] for name in NAMES]
            added = CELLS[kind].added * H // 2
            ours = [own.w_input[...].T, own.w_hidden[...].T, own.b_input[...], wanted[3]]
            if own.b_hidden is not None:
                ours[3] = jnp.concatenate([own.b_input[...][:added], own.b_hidden[...]])
            for theirs, value in zip(wanted, ours, strict=True):
                np.testing.assert_allclose(value, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_beside_a_text_in_a_row_changes_nothing(kind: str) -> None:
    x, layers = jnp.asarray(inputs()), layers_of(kind)
    run = jax.jit(lambda layers, x, own: layers(x, own).x, compiler_options=QUICK)
    borders = [0, 7, 8, 15, 20]
    segments = np.repeat([1, 2, 3, 0], np.diff(borders))
    packed = run(layers, x, jnp.asarray(np.tile(segments, (len(x), 1))))
    for start, end in itertools.pairwise(borders):
        alone = np.zeros_like(inputs())
        alone[:, : end - start] = x[:, start:end]
        own = np.arange(x.shape[1]) < end - start
        wanted = run(layers, jnp.asarray(alone), jnp.asarray(np.tile(own, (len(x), 1)) * 1))
        np.testing.assert_allclose(
            packed[:, start:end], wanted[:, : end - start], rtol=0, atol=1e-6
        )


@pytest.mark.parametrize(("kind", "reverse"), [("lstm", True), ("gru", False)])
def test_the_gradient_is_that_of_the_plain_scan(kind: str, reverse: bool) -> None:
    """With initial states, of which only those where a segment begins count."""
    layer = Recurrence(param, jax.random.key(0), D, H // 2, kind=kind)
    load(layer, torch_weights(kind), "_l0")
    x = jnp.swapaxes(jnp.asarray(inputs()), 0, 1)
    segments = jnp.asarray(np.tile(np.repeat([1, 2, 0], [8, 7, 5]), (x.shape[1], 1)))
    begin = begins(segments, reverse=reverse)
    shape = (*x.shape[:2], H // 2)
    initial = tuple(jax.random.normal(jax.random.key(n), shape) for n in range(CELLS[kind].states))

    def total(operands: Any, initial: Any, scan: Any) -> Any:
        states = scan(kind, reverse, *operands, begin, initial)
        return sum(jnp.sum(jnp.sin((n + 1) * state)) for n, state in enumerate(states))

    def plain(*arguments: Any) -> Any:
        return forward(*arguments)[0]

    ours, wanted = (
        jax.jit(
            jax.grad(functools.partial(total, scan=scan), argnums=(0, 1)), compiler_options=QUICK
        )(layer.operands(x), initial)
        for scan in (recur, plain)
    )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(wanted), strict=True):
        assert float(jnp.abs(b).max()) > 0
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
    counted = np.asarray(ours[1][0]).any(axis=-1)
    np.testing.assert_array_equal(counted, begin)


def test_ends_are_where_the_other_direction_begins() -> None:
    segments = jnp.asarray([[1, 1, 2, 0], [1, 2, 2, 2]])
    np.testing.assert_array_equal(ends(segments, reverse=False), [[0, 1, 1, 1], [1, 0, 0, 1]])
    np.testing.assert_array_equal(ends(segments, reverse=True), [[1, 0, 1, 1], [1, 1, 0, 0]])
