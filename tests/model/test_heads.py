"""What stands for a row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.head_config import HeadConfig
from model.heads import Head
from model.weights import param
from tests.models import mesh_of

SEGMENTS = jnp.array([[1, 1, 1, 0], [1, 1, 1, 1]])


@pytest.mark.parametrize(
    ("pooling", "wanted"), [("first", [0, 4]), ("last", [2, 7]), ("mean", [1, 5.5])]
)
def test_pooling_leaves_padding_out(pooling: str, wanted: list[float]) -> None:
    x = jnp.arange(8.0).reshape(2, 4, 1) * jnp.ones((1, 1, 16))
    with jax.set_mesh(mesh_of()):
        head = Head(
            param,
            jax.random.key(0),
            16,
            transform="none",
            activation="gelu",
            norm=None,
            bias=True,
            std=0.1,
            outputs=3,
            pooling=pooling,
        )
        actual = head.pool(x, SEGMENTS)
        assert head.logits(actual).shape == (2, 1, 3)
    assert actual.shape == (2, 1, 16)
    np.testing.assert_allclose(actual[:, 0, 0], wanted)


def test_outputs_belong_to_labels_and_tags() -> None:
    with pytest.raises(ValueError, match=r"outputs=0 must be at least 1 with .*kind=labels"):
        HeadConfig(kind="labels")
    with pytest.raises(ValueError, match=r"outputs=3 must be 0 with .*kind=span"):
        HeadConfig(kind="span", outputs=3)
