"""The same maths on every mesh, and no array that XLA had to make whole on the way."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from model.families.decoder import Decoder
from model.sharding import AXES, spec
from tests.families import GEMMA, GPT, LLAMA, OLMO, PALM, QUICK, fresh_model, on_current_mesh
from tests.models import TRAIN, batch_of, mesh_of, placed
from train.step import gradients

CONFIGS = {
    "multi_head": GPT,
    "grouped": dataclasses.replace(LLAMA, attention="blocked"),
    "single": dataclasses.replace(PALM, attention="blocked"),
    "normed": dataclasses.replace(OLMO, attention="xla"),
    "capped": dataclasses.replace(GEMMA, attention="blocked"),
}
MESHES = {
    "fsdp8": {"fsdp": 8},
    "tensor8": {"tensor": 8},
    "replica2_fsdp2_tensor2": {"replica": 2, "fsdp": 2, "tensor": 2},
}
COMPOSED = "replica2_fsdp2_tensor2"
COMPLAINT = "Involuntary full rematerialization"


def tried(shape: str, kind: str) -> bool:
    """Norms and caps are on all axes at once alone."""
    return shape == COMPOSED or kind not in ("normed", "capped")


@pytest.fixture
def compiled_again() -> Iterator[None]:
    """Keeps this test's programs out of the compilation cache: what comes from there logs
    nothing."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = jax.config.values[name]
    jax.config.update(name, 1e9)
    yield
    jax.config.update(name, before)


@functools.cache
def initial(kind: str) -> Decoder:
    with jax.set_mesh(mesh_of()):
        return fresh_model(CONFIGS[kind])


def loss_and_gradients(kind: str, sizes: dict[str, int]) -> tuple[float, dict[str, np.ndarray]]:
    with jax.set_mesh(mesh_of(**sizes)):
        step = functools.partial(gradients, config=TRAIN)
        compiled = jax.jit(step, compiler_options=QUICK)
        batch = placed(batch_of(T=8, V=CONFIGS[kind].vocab_size))
        loss, grads, _ = compiled(on_current_mesh(initial(kind)), batch)
        leaves, _ = jax.tree.flatten_with_path(grads)
        return float(loss), {jax.tree_util.keystr(p): np.asarray(g, np.float64) for p, g in leaves}


def norm(arrays: Iterable[np.ndarray]) -> float:
    """Of all numbers of all arrays."""
    return math.sqrt(sum(float(np.sum(array**2)) for array in arrays))


@functools.cache
def on_a_single_device(kind: str) -> tuple[float, dict[str, np.ndarray]]:
    return loss_and_gradients(kind, {})


@pytest.mark.parametrize(
    ("shape", "kind"), [(shape, kind) for shape in MESHES for kind in CONFIGS if tried(shape, kind)]
)
@pytest.mark.usefixtures("compiled_again")
def test_loss_and_gradients_are_those_of_a_single_device(
    kind: str, shape: str, capfd: pytest.CaptureFixture[str]
) -> None:
    loss, grads = loss_and_gradients(kind, MESHES[shape])
    assert COMPLAINT not in capfd.readouterr().err
    wanted_loss, wanted = on_a_single_device(kind)
    assert loss == pytest.approx(wanted_loss, rel=2e-6)
    whole = norm(wanted.values())
    assert grads.keys() == wanted.keys()
    assert norm(grads[name] - wanted[name] for name in wanted) <= 2e-6 * whole
    for name, leaf in wanted.items():
        # Softmax does not see the key bias: its gradient is zero, and what is found is rounding.
        size = whole if name.endswith(".b_k.value") else norm([leaf])
        assert norm([grads[name] - leaf]) <= 5e-6 * size, name


@pytest.mark.usefixtures("compiled_again")
def test_a_complaint_would_be_heard(capfd: pytest.CaptureFixture[str]) -> None:
    """A plain gather from a sharded table, which `Embedding.lookup` avoids, makes XLA complain."""
    sizes = {"fsdp": 2, "context": 2, "tensor": 2}
    shape = tuple(sizes.get(axis, 1) for axis in AXES)
    every = jax.make_mesh(shape, AXES, axis_types=(AxisType.Explicit,) * len(AXES))
    with jax.set_mesh(every):
        table = jnp.zeros((32, 16), out_sharding=spec("vocab", "embed"))
        tokens = jnp.zeros((8, 8), jnp.int32, out_sharding=spec("batch", "length"))

        def gather(table: jax.Array, tokens: jax.Array) -> jax.Array:
            return table.at[tokens].get(out_sharding=spec("batch", "length", None))

        jax.jit(gather)(table, tokens)
    assert COMPLAINT in capfd.readouterr().err


def test_initial_parameters_are_the_same_on_every_mesh() -> None:
    with jax.set_mesh(mesh_of(replica=2, fsdp=2, tensor=2)):
        actual = jax.tree.leaves(fresh_model(LLAMA))
    for a, b in zip(actual, jax.tree.leaves(initial("grouped")), strict=True):
        np.testing.assert_array_equal(a, b)
