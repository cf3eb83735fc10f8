from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from model.families.family import Scoring
from model.sharding import spec
from tests.models import mesh_of
from train.loss import PLAIN, chunk_length, cross_entropy, cuts_of

B, T, D, V = 4, 6, 8, 32
MESHES = [{}, {"tensor": 4}, {"replica": 2, "fsdp": 2, "tensor": 2}]


def arrays() -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(0)
    x, table = rng.normal(size=(B, T, D)), rng.normal(size=(V, D))
    targets, weights = rng.integers(0, V, (B, T)), rng.random((B, T))
    weights[0, :3] = 0
    mesh = jax.sharding.get_mesh()
    layouts = [
        ("batch", "length", None),
        ("vocab", "embed"),
        ("batch", "length"),
        ("batch", "length"),
    ]
    return tuple(
        jax.device_put(jnp.asarray(array, dtype), NamedSharding(mesh, spec(*layout)))
        for array, dtype, layout in zip(
            (x, table, targets, weights), ("f4", "f4", "i4", "f4"), layouts, strict=True
        )
    )


def losses(*arguments: Any) -> tuple[jax.Array, jax.Array]:
    """`cross_entropy`, whose type `custom_vjp` hides."""
    actual: Any = cross_entropy(*arguments)
    return actual


def plain(x, table, targets, weights, z_loss):
    """The definition, in float64 NumPy terms: log-softmax of all logits at once."""
    logits = jnp.einsum("BTD,VD->BTV", x, table)
    log_normalizer = jax.nn.logsumexp(logits, axis=-1)
    nll = log_normalizer - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jnp.sum(weights * nll) + z_loss * jnp.sum(weights * log_normalizer**2)


@pytest.mark.parametrize("sizes", MESHES, ids=str)
@pytest.mark.parametrize(("z_loss", "chunk"), [(0.0, 4), (0.1, 4), (0.1, 5)])
def test_value_and_gradient_are_those_of_the_definition(
    sizes: dict, z_loss: float, chunk: int
) -> None:
    with jax.set_mesh(mesh_of()):
        expected = jax.value_and_grad(plain, argnums=(0, 1))(*arrays(), z_loss)
    with jax.set_mesh(mesh_of(**sizes)):

        @jax.jit
        def ours(x, table, targets, weights):
            return 3 * losses(x, table, targets, weights, z_loss, chunk)[1]

        actual = jax.value_and_grad(ours, argnums=(0, 1))(*arrays())
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, 3 * np.asarray(b), rtol=2e-5, atol=1e-5)


def test_first_value_leaves_z_loss_and_smoothing_out_and_the_chunk_does_not_matter() -> None:
    with jax.set_mesh(mesh_of()):
        x, table, targets, weights = arrays()
        nll, loss = losses(x, table, targets, weights, 0.1, 4)
        again, _ = losses(x, table, targets, weights, 0.0, 24, None, PLAIN, 0.3)
        assert float(nll) == pytest.approx(float(plain(x, table, targets, weights, 0.0)), rel=1e-5)
        assert float(nll) == pytest.approx(float(again), rel=1e-5)
        assert float(loss) > float(nll)


def test_full_logits_never_exist() -> None:
    with jax.set_mesh(mesh_of()):
        grad = jax.jit(jax.grad(lambda *a: losses(*a, 0.0, 4)[1], argnums=(0, 1)))
        text = grad.lower(*arrays()).compile().as_text() or ""
    assert f"f32[4,{V}]" in text
    assert f"{B * T},{V}]" not in text and f"{B},{T},{V}]" not in text


def by_numpy(x, table, targets, weights, z_loss, bias, scoring, smoothing=0.0):
    """Loss and its gradients with respect to x, table and bias, in float64."""
    x, table, weights, bias = (np.asarray(a, np.float64) for a in (x, table, weights, bias))
    logits, slope = x @ table.T + bias, 1.0
    if scoring.softcap is not None:
        logits = scoring.softcap * np.tanh(logits / scoring.softcap)
        slope = 1 - (logits / scoring.softcap) ** 2
    if scoring.vocabulary is not None:
        logits[..., scoring.vocabulary :] = -1e30
    top = logits.max(-1, keepdims=True)
    normalizer = np.log(np.exp(logits - top).sum(-1, keepdims=True)) + top
    hit = np.arange(len(table)) == np.asarray(targets)[..., None]
    classes = scoring.vocabulary or len(table)
    hit = (1 - smoothing) * hit + smoothing * (np.arange(len(table)) < classes) / classes
    nll, z = normalizer[..., 0] - (hit * logits).sum(-1), normalizer[..., 0]
    d = weights[..., None] * (np.exp(logits - normalizer) * (1 + 2 * z_loss * normalizer) - hit)
    d *= slope
    rows = d.reshape(-1, len(table))
    loss = (weights * (nll + z_loss * z**2)).sum()
    return loss, d @ table, rows.T @ x.reshape(-1, D), rows.sum(0)


LAYOUTS = [
    (("batch", "length"), ("vocab", "embed"), 32, PLAIN),
    (("batch", "length"), ("vocab", "embed"), 32, Scoring(13, 1.5)),
    (("batch",), (None, "embed"), 2, PLAIN),
    (("batch",), (None, None), 3, Scoring(2)),
    (("batch", None, None), ("vocab", None), 32, PLAIN),
]


@pytest.mark.parametrize(("biased", "smoothing"), [(True, 0.1), (False, 0.0)])
@pytest.mark.parametrize(("rows", "columns", "classes", "scoring"), LAYOUTS)
def test_layouts_are_those_of_the_arguments(
    rows: tuple[str, ...],
    columns: tuple[str | None, ...],
    classes: int,
    scoring: Scoring,
    biased: bool,
    smoothing: float,
) -> None:
    """A table of 2 classes that nothing cuts, and rows without a length, or with two; one that is
    padded, its second half on a device of its own, and scores that are capped; smoothed targets of
    tables with a bias."""
    rng = np.random.default_rng(1)
    shape = (8, 3, 2)[: len(rows)]
    x, table = rng.normal(size=(*shape, D)), rng.normal(size=(classes, D))
    targets, weights = rng.integers(0, scoring.vocabulary or classes, shape), rng.random(shape)
    bias = rng.normal(size=classes) if biased else np.zeros(classes)
    expected = by_numpy(x, table, targets, weights, 0.1, bias, scoring, smoothing)
    with jax.set_mesh(mesh_of(replica=2, fsdp=2, tensor=2)):

        def put(array: np.ndarray, dtype: str, *axes: str | None) -> jax.Array:
            mesh = jax.sharding.get_mesh()
            return jax.device_put(array.astype(dtype), NamedSharding(mesh, spec(*axes)))

        arguments = [put(x, "f4", *rows, None), put(table, "f4", *columns)]
        arguments += [put(targets, "i4", *rows), put(weights, "f4", *rows)]
        arguments += [put(bias, "f4", columns[0])] if biased else []

        @jax.jit
        def ours(x, table, targets, weights, bias=None):
            return losses(x, table, targets, weights, 0.1, 3, bias, scoring, smoothing)[1]

        wanted = (0, 1, 4) if biased else (0, 1)
        loss, grads = jax.value_and_grad(ours, argnums=wanted)(*arguments)
        for grad, number in zip(grads, wanted, strict=True):
            assert grad.sharding == arguments[number].sharding
    for ours_, numpys in zip((loss, *grads), expected, strict=False):
        np.testing.assert_allclose(ours_, numpys, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("hidden", "table"),
    [
        (P("fsdp", "tensor"), P(None, None)),
        (P("tensor", None), P("tensor", None)),
        (P("replica", None), P(None, "fsdp")),
    ],
)
def test_layouts_that_would_give_wrong_sums_are_refused(hidden: P, table: P) -> None:
    with pytest.raises(ValueError, match=r"^layouts of hidden states=.* must fit together"):
        cuts_of(hidden, table)


@pytest.mark.parametrize(
    ("tokens", "wanted", "actual"), [(24, 7, 6), (24, 100, 24), (13, 5, 5), (4099, 1024, 820)]
)
def test_chunks_are_as_long_as_wanted_for_any_count(tokens: int, wanted: int, actual: int) -> None:
    assert chunk_length(tokens, wanted) == actual
