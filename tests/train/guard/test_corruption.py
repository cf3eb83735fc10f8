"""A bit that flips in one device's copy, in memory or on the way through a step, is noticed."""

import functools
from collections.abc import Iterator
from typing import Any, cast

import jax
import numpy as np
import pytest

from launch.run import build
from tests.models import SMALL, TRAIN, batch_of, mesh_of, placed, shapes_of
from train.checkpoint.saver import RunSaver
from train.checkpoint.tree import named_leaves
from train.feed import replicated
from train.guard.corruption import CheckedStep, Recompute, Replicas, copies, outliers
from train.guard.spikes import NO_CEILING
from train.state import TrainState

Compiled = tuple[Any, Any, list[Any]]


@pytest.fixture(scope="module")
def compiled() -> Iterator[Compiled]:
    """On replica 2 x fsdp 2 x tensor 2: fresh states, the step, and its arguments but the state."""
    with jax.set_mesh(mesh_of(replica=2, fsdp=2, tensor=2)):
        fresh = jax.jit(build.fresh_state(SMALL, TRAIN))
        shapes = jax.eval_shape(fresh)
        step, _ = build.compile_train_step(
            shapes, TRAIN, shapes_of(TRAIN.batch_size, SMALL.max_length)
        )
        yield fresh, step, [placed(batch_of()), replicated(1e-2), replicated(NO_CEILING)]


def flipped(array: jax.Array, device: int, element: int, bit: int) -> jax.Array:
    """The array with one bit of one device's shard flipped."""
    shards = []
    for shard in array.addressable_shards:
        values = np.array(shard.data)
        if shard.device.id == device:
            values.reshape(-1).view(np.uint32)[element % values.size] ^= np.uint32(1 << bit)
        shards.append(jax.device_put(values, shard.device))
    return jax.make_array_from_single_device_arrays(array.shape, array.sharding, shards)


def with_leaf(tree: Any, number: int, change: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    leaves[number] = change(leaves[number])
    return jax.tree.unflatten(structure, leaves)


def test_any_flipped_bit_of_any_copy_is_flagged_by_array_and_device(compiled: Compiled) -> None:
    fresh, step, arguments = compiled
    state = fresh()
    for _ in range(3):
        state, _ = step(state, *arguments)
    replicas = Replicas(state)
    replicas.check(3, state)
    copied = [name for name, groups in copies(state).items() if groups]
    assert copied == list(named_leaves(state)) and len(copied) > 20
    rng = np.random.default_rng(0)
    for leaf, name in enumerate(copied):
        device = int(rng.integers(8))
        element, bit = int(rng.integers(1 << 20)), int(rng.integers(32))
        flip = functools.partial(flipped, device=device, element=element, bit=bit)
        bad = with_leaf(state, leaf, flip)
        with pytest.raises(ValueError, match="after step 3, because") as error:
            replicas.check(3, bad)
        assert f"{name} on " in str(error.value)
        assert f"device {device} of process 0" in str(error.value)
        assert "more)" not in str(error.value)


def test_outliers_are_the_minority_or_all() -> None:
    assert outliers([7, 7, 8, 7]) == [2]
    assert outliers([7, 8]) == [0, 1]
    assert outliers([1, 2, 3, 4]) == [0, 1, 2, 3]


def test_a_mesh_without_copies_is_refused() -> None:
    with (
        jax.set_mesh(mesh_of()),
        pytest.raises(ValueError, match=r"corruption\.replicas=True must have copies"),
    ):
        Replicas(jax.jit(build.fresh_state(SMALL, TRAIN))())


def test_checked_steps_are_the_same_steps_and_report_a_wrong_step(compiled: Compiled) -> None:
    fresh, step, arguments = compiled
    shapes = jax.eval_shape(fresh)
    tries: list[int] = []
    wrong_try = 99

    def unreliable(state: TrainState, *rest: Any) -> Any:
        """The real step on hardware that gets one bit wrong at one of its tries."""
        tries.append(1)
        state, metrics = step(state, *rest)
        if len(tries) == wrong_try:
            flip = functools.partial(flipped, device=5, element=3, bit=0)
            state = with_leaf(state, 1, flip)
        return state, metrics

    checked = CheckedStep(
        unreliable, 0, every_steps=2, replicas=Replicas(shapes), recompute=Recompute(shapes)
    )
    ours, plain = fresh(), fresh()
    with jax.transfer_guard("disallow"):
        for _ in range(4):
            ours, _ = checked(ours, *arguments)
            plain, _ = step(plain, *arguments)
    assert len(tries) == 6
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(a, b)
    wrong_try = 8
    ours, _ = checked(ours, *arguments)
    with pytest.raises(ValueError, match=r"step 6 must give the same bits .*, but model/blocks"):
        checked(ours, *arguments)


def test_no_checkpoint_is_saved_of_copies_that_differ(compiled: Compiled) -> None:
    saved: list[int] = []

    class Saves:
        def is_due(self, step: int) -> bool:
            return True

        def save(self, step: int, state: object, meta: object, **kind: object) -> bool:
            saved.append(step)
            return True

        def wait(self) -> None: ...

    state = compiled[0]()
    saver = RunSaver(cast(Any, Saves()), {}, Replicas(state).check)
    assert saver.save(1, state, {}, metrics=None, force=False)
    flip = functools.partial(flipped, device=2, element=0, bit=31)
    bad = with_leaf(state, 1, flip)
    with pytest.raises(ValueError, match="every checkpoint was made while all copies were"):
        saver.save(2, bad, {}, metrics=None, force=False)
    assert saved == [1]
