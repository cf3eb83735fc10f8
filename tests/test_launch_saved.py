"""Reading a run's checkpoint while the run goes on."""

from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from launch.saved import _verified
from train.checkpoint import Checkpointer
from train.config import CheckpointConfig

EACH_STEP = CheckpointConfig(every_steps=1, keep_latest=9)


class Raced(Checkpointer):
    """Its newest checkpoint is deleted the moment it is read, as its run may do."""

    raced = 0

    def restore(self, abstract_state: Any, step: int | None = None) -> Any:
        self.raced += 1
        if self.raced == 1:
            self.folder.delete(2)
        return super().restore(abstract_state, step)


def test_a_checkpoint_that_goes_while_it_is_read_is_replaced_by_the_latest(tmp_path: Path) -> None:
    state = {"w": jnp.arange(8.0)}
    with closing(Checkpointer(tmp_path, EACH_STEP)) as checkpointer:
        for step in (0, 2):
            checkpointer.save(step, state, {"examples_seen": step})
    shapes: Any = jax.eval_shape(lambda: state)
    _, meta = _verified(Raced(tmp_path, EACH_STEP), shapes, None)
    assert meta["examples_seen"] == 0
    with pytest.raises(ValueError, match="step 2"):
        _verified(Checkpointer(tmp_path, EACH_STEP), shapes, 2)
