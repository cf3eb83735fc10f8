import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.plan import arithmetic
from launch.plan.chips import CHIPS
from launch.plan.room import beside_state, require_room, room, told_of
from launch.plan.shapes import GIB, memory
from launch.plan.units import size
from launch.run.build import compile_train_step, fresh_state
from tests.models import SMALL, TRAIN, mesh_of, shapes_of


def test_state_is_told_and_refused_where_it_does_not_fit() -> None:
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        shapes = jax.eval_shape(fresh_state(SMALL, TRAIN))
        least = memory(shapes).device
        assert "0.0 MiB of a device's 2.00 GiB" in require_room(shapes, 2 * GIB)
        require_room(shapes, least)
        with pytest.raises(ValueError, match=r"mesh of 4 devices must hold.*try more devices"):
            require_room(shapes, least - 1)


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_step_is_estimated_where_arithmetic_holds(platform: str) -> None:
    half = dataclasses.replace(SMALL, dtype="bfloat16")
    chip = CHIPS[{"tpu": "v5p", "gpu": "h100"}[platform]]
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        shapes = jax.eval_shape(fresh_state(half, TRAIN))
        beside = beside_state(half, TRAIN, 16, platform, packed=True)
        assert beside_state(SMALL, TRAIN, 16, platform, packed=True) is None
        assert beside_state(half, TRAIN, 16, "cpu", packed=True) is None
        told = arithmetic.memory(half, TRAIN, 16, {"fsdp": 2, "tensor": 2}, chip)
        assert beside is not None
        assert beside == told.gradients + told.activations + told.temporaries
        whole = memory(shapes).device + round(beside)
        assert f"temporaries about {size(whole)} (arithmetic)" in require_room(
            shapes, whole, beside
        )
        assert "more than there is (arithmetic)" in require_room(shapes, whole - 1, beside)


def test_compilers_peak_is_told() -> None:
    with jax.set_mesh(mesh_of(fsdp=2)):
        shapes = jax.eval_shape(fresh_state(SMALL, TRAIN))
        step, _ = compile_train_step(shapes, TRAIN, shapes_of(TRAIN.batch_size, packing=False))
    assert told_of(step, GIB).endswith("(compiler)")
    assert told_of(step, 1).endswith("more than there is")
    # The backward pass needs what the sixteen turns leave, beside a megabyte given and one made.
    square = jax.ShapeDtypeStruct((512, 512), np.float32)
    turns = jax.jit(jax.grad(_after_turns)).lower(square).compile()
    assert told_of(turns, 4 * 2**20).endswith("more than there is")


def _after_turns(x: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda x, _: (jnp.sin(x), None), x, length=16)[0].sum()


def test_virtual_devices_share_the_machine() -> None:
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert room() == pages // 8
