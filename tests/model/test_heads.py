"""What stands for a row."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.presets.preset import preset
from model.flops import parameter_count
from model.head_config import HeadConfig
from model.heads import Head
from model.layers import Norm
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
            norm=lambda: Norm(param, (16,), centred=True, bias=True, epsilon=1e-5),
            bias=True,
            std=0.1,
            outputs=3,
            pooling=pooling,
        )
        actual = head.pool(x, SEGMENTS)
        assert head.logits(actual).shape == (2, 1, 3)
    assert actual.shape == (2, 1, 16)
    np.testing.assert_allclose(actual[:, 0, 0], wanted)


@pytest.mark.parametrize("name", ["tiny-labels", "tiny-lstm-labels", "tiny-vit", "tiny-convnet"])
def test_a_norm_alone_is_the_same_transform_of_every_family(name: str) -> None:
    model: Any = preset(name).model
    counts = []
    for transform in ("none", "normed"):
        head = dataclasses.replace(model.head, transform=transform)
        counts.append(parameter_count(dataclasses.replace(model, head=head)))
    own = 2 if getattr(model, "bias", True) else 1
    assert counts[1] - counts[0] == own * model.width


def test_outputs_belong_to_labels_and_tags() -> None:
    with pytest.raises(ValueError, match=r"outputs=0 must be at least 1 with .*kind=labels"):
        HeadConfig(kind="labels")
    with pytest.raises(ValueError, match=r"outputs=3 must be 0 with .*kind=span"):
        HeadConfig(kind="span", outputs=3)
