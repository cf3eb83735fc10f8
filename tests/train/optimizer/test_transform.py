import jax
import numpy as np
import pytest

from model.families.decoder import Decoder
from tests.models import SMALL, TRAIN, changed, mesh_of
from train.optimizer.transform import decays, gradient_transform


def test_matrices_decay_and_biases_and_norms_do_not() -> None:
    with jax.set_mesh(mesh_of()):
        model = jax.eval_shape(lambda: Decoder(SMALL, jax.random.key(0)))
        actual = {
            jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value"): decay
            for path, decay in jax.tree_util.tree_flatten_with_path(decays(model))[0]
        }
    kept = {name for name, decay in actual.items() if not decay}
    assert {name.split("/")[-1] for name in kept} == {
        "scale",
        "bias",
        "b_q",
        "b_k",
        "b_v",
        "b_o",
        "b_up",
        "b_down",
    }
    assert {"embedding/table", "blocks/mlp/w_up", "blocks/attention/w_o"} <= set(actual) - kept


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_updates_are_those_of_the_papers(name: str) -> None:
    config = changed(TRAIN, name=name, weight_decay=0.5).optimizer
    transform = gradient_transform(config)
    with jax.set_mesh(mesh_of()):
        # Biases begin at zero, where decay would not show.
        model = jax.tree.map(lambda p: p + 0.1, Decoder(SMALL, jax.random.key(0)))
        grads = jax.tree.map(lambda p: 0.25 * p + 0.125, model)
        updates, _ = transform.update(grads, transform.init(model), model)
    for leaf, decay in (("w_up", 0.5), ("b_up", 0.0)):
        p = np.asarray(getattr(model.blocks.mlp, leaf)[...])
        g = np.asarray(getattr(grads.blocks.mlp, leaf)[...])
        # The first step of Adam has mean g and second moment g^2 after bias correction.
        direction = g / (np.abs(g) + config.epsilon) if name == "adamw" else np.sign(g)
        actual = getattr(updates.blocks.mlp, leaf)[...]
        np.testing.assert_allclose(actual, direction + decay * p, rtol=1e-4, atol=1e-5)
