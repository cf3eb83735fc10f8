"""Layers run by scan: every policy of rematerialization gives the same values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.families.family import FamilyConfig
from model.stack import POLICIES, run_layers


def test_the_policies_are_the_choices_of_the_config() -> None:
    annotation = FamilyConfig.__dataclass_fields__["remat"].type
    assert set(POLICIES) == set(annotation.__args__)  # type: ignore[union-attr]


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_what_is_kept_does_not_change_the_gradient(remat: str) -> None:
    key, x = jax.random.key(0), jnp.ones((2, 4))
    matrices = jax.random.normal(key, (6, 4, 4))

    def total(matrices: jax.Array, remat: str) -> jax.Array:
        y = run_layers(lambda x, w: (jnp.tanh(x @ w), None), x, matrices, remat=remat)
        return jnp.sum(y)

    wanted = jax.grad(total)(matrices, "none")
    np.testing.assert_allclose(jax.grad(total)(matrices, remat), wanted, rtol=1e-5, atol=1e-6)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="remat=some must be one of none, dots, full, offload"):
        run_layers(lambda x, w: (x + w, None), jnp.ones(2), jnp.ones((3, 2)), remat="some")
