"""The largest presets lower on 256 devices that are not there."""

import dataclasses

import jax
import pytest

from launch.presets.preset import preset
from launch.run.build import fresh_state, step_arguments
from model.sharding import abstract_mesh
from train.step import make_train_step

CHANGES = {"vocab_multiple": 8, "remat": "full", "dtype": "bfloat16", "attention": "splash"}


@pytest.mark.parametrize("name", ["gpt3-175b", "llama3-405b", "palm-540b"])
def test_train_step_lowers_without_devices_and_keeps_every_layout(name: str) -> None:
    run = preset(name)
    model = dataclasses.replace(run.model, **CHANGES)
    train = dataclasses.replace(run.train, batch_size=256, loss_chunk=512)
    with jax.sharding.use_abstract_mesh(abstract_mesh(fsdp=32, tensor=8)):
        shapes = jax.eval_shape(fresh_state(model, train))
        step = make_train_step(train)
        traced = step.trace(*step_arguments(shapes, run.data.batch_shapes(train.batch_size)))
        text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert "num_partitions = 256" in text
    assert "splash_mha_fwd_segmented" in text
    state, _ = traced.out_info
    before, after = jax.tree.leaves(shapes), jax.tree.leaves(state)
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
        if old.sharding is not None:
            assert old.sharding == new.sharding
