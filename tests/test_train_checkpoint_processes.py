"""Two processes write one checkpoint, at steps they agree on; one process reads it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from tests.test_train_checkpoint_policy import due_steps
from train.checkpoint import Checkpointer
from train.config import CheckpointConfig

ROOT = Path(__file__).parents[1]
CONFIG = CheckpointConfig(every_steps=2, keep_latest=1)


def init() -> dict[str, jax.Array]:
    spec = PartitionSpec("fsdp")
    return {"w": jnp.arange(512.0, out_sharding=spec)}


def run(rank: int, path: str) -> None:
    """What each of the two processes does; both must print the same."""
    with jax.set_mesh(jax.make_mesh((2,), ("fsdp",))):
        state = jax.jit(init)()
        for _ in range(2):
            checkpointer = Checkpointer(path, CONFIG)
            resumed = checkpointer.latest_step() or 0
            for step in range(resumed + 1, resumed + 6):
                checkpointer.save(step, state, {"examples_seen": step})
            checkpointer.close()
            restored = checkpointer.restore(jax.eval_shape(init))
            assert (restored["w"] == state["w"]).all()
    steps = due_steps(seconds_per_step=[1.0, 7.0][rank], minutes=0.5, last=100)
    print(Checkpointer(path, CONFIG).steps(), steps, flush=True)


CHILD = """
import sys
import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from tests.test_train_checkpoint_processes import run
run(int(sys.argv[2]), sys.argv[3])
jax.distributed.shutdown()
"""


def test_two_processes_save_together_when_the_clock_of_one_says_so(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{listener.getsockname()[1]}"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, coordinator, str(rank), str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [child.communicate(timeout=100)[0].splitlines()[-1] for child in children]
    finally:
        for child in children:
            child.kill()
    assert said == ["[8] [30, 60, 90]"] * 2
    devices = jax.devices()[:4]
    with jax.set_mesh(jax.make_mesh((4,), ("fsdp",), devices=devices)):
        restored = Checkpointer(tmp_path, CONFIG).restore(jax.eval_shape(init))
        assert np.array_equal(restored["w"], jax.jit(init)()["w"])
