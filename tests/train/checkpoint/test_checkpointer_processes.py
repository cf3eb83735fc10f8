"""Two processes write one checkpoint, at steps they agree on; one process reads it."""

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from tests.command import ROOT
from tests.train.checkpoint.test_policy import due_steps
from train.checkpoint import arrays, manifest
from train.checkpoint.checkpointer import Checkpointer
from train.config import CheckpointConfig

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
            assert checkpointer.faults(checkpointer.steps()[-1]) == []
    steps = due_steps(seconds_per_step=[1.0, 7.0][rank], minutes=0.5, last=100)
    print(Checkpointer(path, CONFIG).steps(), steps, flush=True)


def fail(rank: int, path: str) -> None:
    """Process 1 cannot write its part of step 20."""
    with jax.set_mesh(jax.make_mesh((2,), ("fsdp",))):
        checkpointer = Checkpointer(path, CONFIG)
        state = jax.jit(init)()
        checkpointer.save(10, state, {"examples_seen": 10})
        checkpointer.wait()
        if rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
        checkpointer.save(20, state, {"examples_seen": 20})
        try:
            checkpointer.wait()
        except ValueError as error:
            print(error, flush=True)
    os._exit(0)


CHILD = """
import sys
import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from tests.train.checkpoint import test_checkpointer_processes as here
getattr(here, sys.argv[4])(int(sys.argv[2]), sys.argv[3])
jax.distributed.shutdown()
"""


@contextmanager
def pair(path: Path, task: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes of one job that do `task`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{listener.getsockname()[1]}"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, coordinator, str(rank), str(path), task],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


def test_two_processes_save_together_when_a_clock_of_theirs_says_so(tmp_path: Path) -> None:
    with pair(tmp_path, "run") as children:
        said = [child.communicate(timeout=100)[0].splitlines()[-1] for child in children]
    assert said == ["[8] [30, 60, 90]"] * 2
    checkpointer = Checkpointer(tmp_path, CONFIG)
    owners = {arrays.written_by(name) for name in manifest.file_names(tmp_path / "8")}
    assert owners == {0, 1}
    assert checkpointer.faults(8) == []
    devices = jax.devices()[:4]
    with jax.set_mesh(jax.make_mesh((4,), ("fsdp",), devices=devices)):
        restored = checkpointer.restore(jax.eval_shape(init))
        assert np.array_equal(restored["w"], jax.jit(init)()["w"])


def test_a_step_that_a_process_could_not_write_does_not_exist(tmp_path: Path) -> None:
    with pair(tmp_path, "fail") as (first, second):
        said = second.communicate(timeout=100)[0]
        assert "saving step 20 failed: File too large (step 10 is the last good one)" in said
        assert first.poll() is None, "process 0 must not have ended the save alone"
    checkpointer = Checkpointer(tmp_path, CONFIG)
    assert checkpointer.steps() == [10]
    assert checkpointer.faults(10) == []
    assert (tmp_path / "20.saving").is_dir()
