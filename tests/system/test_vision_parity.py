"""Questions of images, with dropout: loss and gradients are the same on every mesh."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest

from tests.families import QUICK
from tests.images import MODELS, batch_for
from tests.models import TRAIN, mesh_of, placed
from tests.system.test_mesh_parity import COMPLAINT, MESHES, compiled_again  # noqa: F401
from tests.system.test_questions_parity import ALL_AXES, FAR, UNSEEN
from train.step import gradients, step_key

SMOOTH = dataclasses.replace(TRAIN, label_smoothing=0.1)


@functools.cache
def loss_and_gradients(kind: str, mesh: str | None) -> tuple[float, dict[str, np.ndarray]]:
    config = MODELS[kind]
    with jax.set_mesh(mesh_of(**(MESHES[mesh] if mesh else {}))):
        step = functools.partial(gradients, config=SMOOTH, key=step_key(0, 3))
        model = jax.jit(lambda: config.build(jax.random.key(0)), compiler_options=QUICK)()
        loss, grads, _ = jax.jit(step, compiler_options=QUICK)(model, placed(batch_for(config)))
        leaves, _ = jax.tree.flatten_with_path(grads)
        return float(loss), {jax.tree_util.keystr(p): np.asarray(g, np.float64) for p, g in leaves}


def combinations() -> list[Any]:
    """All that there is on a mesh of all axes; the rest are long tests."""
    short = ("dino", ALL_AXES)
    return [
        pytest.param(kind, mesh, marks=[] if (kind, mesh) == short else [pytest.mark.long])
        for kind in MODELS
        for mesh in MESHES
    ]


@pytest.mark.parametrize(("kind", "mesh"), combinations())
@pytest.mark.usefixtures("compiled_again")
def test_loss_and_gradients_are_those_of_a_single_device(
    kind: str, mesh: str, capfd: pytest.CaptureFixture[str]
) -> None:
    loss, grads = loss_and_gradients(kind, mesh)
    assert COMPLAINT not in capfd.readouterr().err
    wanted_loss, wanted = loss_and_gradients(kind, None)
    assert loss == pytest.approx(wanted_loss, rel=FAR)
    largest = max(float(np.abs(leaf).max()) for leaf in wanted.values())
    for name, leaf in wanted.items():
        own = largest if name.endswith(UNSEEN[0]) else float(np.abs(leaf).max())
        assert np.abs(grads[name] - leaf).max() <= FAR * own, name
    # Nothing reads the token of hidden patches; all other weights learn.
    unread = {name for name, leaf in wanted.items() if not leaf.any()}
    assert unread <= {".mask_token.value"}
