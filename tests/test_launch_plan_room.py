import os

import jax
import numpy as np
import pytest
from models import SMALL, TRAIN, mesh_of

from launch.build import compile_train_step, fresh_state
from launch.plan.room import require_room, room, told_of
from launch.plan.shapes import GIB, memory


def test_state_is_told_and_refused_where_it_does_not_fit() -> None:
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        shapes = jax.eval_shape(fresh_state(SMALL, TRAIN))
        least = memory(shapes).device
        assert "0.0 MiB of a device's 2.00 GiB" in require_room(shapes, 2 * GIB)
        require_room(shapes, least)
        with pytest.raises(ValueError, match=r"mesh of 4 devices must hold.*try more devices"):
            require_room(shapes, least - 1)


def test_compilers_peak_is_told() -> None:
    with jax.set_mesh(mesh_of(fsdp=2)):
        shapes = jax.eval_shape(fresh_state(SMALL, TRAIN))
        step, _ = compile_train_step(shapes, TRAIN, length=16, packed=False)
    assert told_of(step, GIB).endswith("(compiler)")
    assert told_of(step, 1).endswith("more than there is")
    # A product is held between the two, beside the megabyte that is given.
    square = jax.ShapeDtypeStruct((512, 512), np.float32)
    products = jax.jit(lambda x: (jax.numpy.sin(x @ x) @ x).sum()).lower(square).compile()
    assert told_of(products, 3 * 2**19).endswith("more than there is")


def test_virtual_devices_share_the_machine() -> None:
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert room() == pages // 8
