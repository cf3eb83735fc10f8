import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from model.dropout import dropout
from model.sharding import spec
from tests.models import mesh_of

MESHES = [{}, {"fsdp": 4}, {"fsdp": 2, "tensor": 2}, {"replica": 2, "fsdp": 2, "tensor": 2}]
LAYOUTS = [("batch", "length", None), ("batch", None, "mlp"), ("vocab", "embed", None)]


def dropped(layout: tuple[str | None, ...], seed: int = 0, **sizes: int) -> jax.Array:
    with jax.set_mesh(mesh_of(**sizes)):
        sharding = NamedSharding(jax.sharding.get_mesh(), spec(*layout))
        x = jax.device_put(jnp.full((8, 8, 32), 2.0), sharding)
        y = jax.jit(lambda x, key: dropout(x, 0.25, key))(x, jax.random.key(seed))
    assert y.sharding == sharding
    return y


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sizes", MESHES[1:], ids=str)
def test_the_same_elements_are_dropped_on_every_mesh(sizes: dict, layout: tuple) -> None:
    np.testing.assert_array_equal(dropped(layout, **sizes), dropped(layout))


def test_the_mean_stays_and_another_key_drops_others() -> None:
    first, second = (np.asarray(dropped(LAYOUTS[0], seed)) for seed in (0, 1))
    assert set(np.unique(first)) == {0.0, np.float32(2 / 0.75)}
    assert np.mean(first == 0) == pytest.approx(0.25, abs=0.04)  # four deviations of 2,048 draws
    assert np.mean((first == 0) & (second == 0)) == pytest.approx(1 / 16, abs=0.03)


def test_without_a_key_or_a_rate_it_is_the_identity() -> None:
    x = jnp.ones((4, 2), jnp.bfloat16)
    assert dropout(x, 0.5, None) is x and dropout(x, 0.0, jax.random.key(0)) is x
    assert dropout(x, 0.5, jax.random.key(0)).dtype == x.dtype


def test_no_device_draws_for_the_whole_array() -> None:
    with jax.set_mesh(mesh_of(fsdp=4)):
        x = jax.device_put(
            jnp.ones((64, 96)), NamedSharding(jax.sharding.get_mesh(), spec("batch"))
        )
        step = jax.jit(lambda x, key: dropout(x, 0.1, key)).lower(x, jax.random.key(0))
        text = step.compile().as_text() or ""
    assert "u32[16,96]" in text and "[64,96]" not in text
