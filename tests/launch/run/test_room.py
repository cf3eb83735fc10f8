import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.config import DataConfig
from launch.run.build import compile_train_step, fresh_state
from launch.run.room import compiled_size, device_memory, require_room, step_extra
from tests.models import SMALL, TRAIN, mesh_of, shapes_of
from train.memory import array_bytes, step_memory
from train.report.numbers import GIB, size


def test_state_is_reported_and_refused_where_it_does_not_fit() -> None:
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        shapes = jax.eval_shape(fresh_state(SMALL, TRAIN))
        needed = array_bytes(shapes).device
        assert "0.0 MiB of a device's 2.00 GiB" in require_room(shapes, 2 * GIB)
        require_room(shapes, needed)
        with pytest.raises(ValueError, match=r"mesh of 4 devices must hold.*try more devices"):
            require_room(shapes, needed - 1)


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_step_is_estimated_where_arithmetic_holds(platform: str) -> None:
    half = dataclasses.replace(SMALL, dtype="bfloat16")
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        shapes = jax.eval_shape(fresh_state(half, TRAIN))
        data = DataConfig(sequence_length=16, packing=True)
        extra = step_extra(half, TRAIN, data, platform)
        assert step_extra(SMALL, TRAIN, data, platform) is None
        assert step_extra(half, TRAIN, data, "cpu") is None
        memory = step_memory(half, TRAIN, 16, {"fsdp": 2, "tensor": 2}, platform)
        assert extra is not None
        assert extra == memory.gradients + memory.activations + memory.temporaries
        whole = array_bytes(shapes).device + round(extra)
        assert f"temporaries about {size(whole)} (arithmetic)" in require_room(shapes, whole, extra)
        assert "more than there is (arithmetic)" in require_room(shapes, whole - 1, extra)


def test_compilers_peak_is_reported() -> None:
    with jax.set_mesh(mesh_of(fsdp=2)):
        shapes = jax.eval_shape(fresh_state(SMALL, TRAIN))
        step, _ = compile_train_step(shapes, TRAIN, shapes_of(TRAIN.batch_size, packing=False))
    assert compiled_size(step, GIB).endswith("(compiler)")
    assert compiled_size(step, 1).endswith("more than there is")
    # The backward pass needs what the sixteen turns leave, besides a megabyte in and one out.
    square = jax.ShapeDtypeStruct((512, 512), np.float32)
    turns = jax.jit(jax.grad(_after_turns)).lower(square).compile()
    assert compiled_size(turns, 4 * 2**20).endswith("more than there is")


def _after_turns(x: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda x, _: (jnp.sin(x), None), x, length=16)[0].sum()


def test_virtual_devices_share_the_machine() -> None:
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert device_memory() == pages // 8
