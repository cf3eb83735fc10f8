"""What is left after a process is killed while it saves, and after the disk is full."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from train.checkpoint import Checkpointer
from train.config import CheckpointConfig

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu"}
EACH_STEP = CheckpointConfig(every_steps=1, keep_latest=2)
SIZE = 1 << 21


def state_of(step: int) -> dict[str, jax.Array]:
    """Made by NumPy, so that every process has the same bits whatever its compiler is told."""
    noise = np.random.default_rng(0).standard_normal(SIZE, np.float32)
    return {"w": jax.device_put(noise * np.float32(step))}


def restored(path: Path, step: int) -> np.ndarray:
    target = {"w": jax.ShapeDtypeStruct((SIZE,), np.float32)}
    return np.asarray(Checkpointer(path, EACH_STEP).restore(target, step)["w"])


SAVE_FOR_EVER = """
import sys
from tests.test_train_checkpoint_faults import EACH_STEP, Checkpointer, state_of
checkpointer = Checkpointer(sys.argv[1], EACH_STEP)
for step in range(1, 10_000):
    checkpointer.save(step, state_of(step), {"examples_seen": step})
"""


def kill_while_saving(path: Path, first: int) -> None:
    """Kill a process that saves each step, in the middle of a save later than `first`."""
    child = subprocess.Popen(
        [sys.executable, "-c", SAVE_FOR_EVER, str(path)], cwd=ROOT, env=ENVIRONMENT
    )

    def half_written() -> bool:
        return any(int(p.name.partition(".")[0]) > first for p in path.glob("*.saving"))

    try:
        while child.poll() is None:
            if half_written():
                child.send_signal(signal.SIGSTOP)
                if half_written():
                    break
                child.send_signal(signal.SIGCONT)
        assert child.returncode is None
    finally:
        child.kill()
        child.wait()


def test_killed_while_saving_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    kill_while_saving(tmp_path, first=1)
    steps = Checkpointer(tmp_path, EACH_STEP).steps()
    assert steps and steps[-1] >= 1
    for step in steps:
        np.testing.assert_array_equal(restored(tmp_path, step), state_of(step)["w"])
    assert Checkpointer(tmp_path, EACH_STEP).read_meta()["examples_seen"] == steps[-1]
    goes_on = Checkpointer(tmp_path, EACH_STEP)
    goes_on.save(steps[-1] + 1, state_of(steps[-1] + 1), {})
    goes_on.close()
    assert not list(tmp_path.glob("*.saving"))


FILL = {
    "tmpfs": "with open(path + '/filler', 'wb', 0) as file, suppress(OSError):\n"
    "    while file.write(bytes(1 << 16)): pass",
    "limit": "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))",
}
SAID = {"tmpfs": "have room, because saving step 2 failed: No space left on device"}
SAID["limit"] = "be writable, because saving step 2 failed: File too large"
SAVE_TO_FULL = """
import resource, sys
from contextlib import suppress
from tests.test_train_checkpoint_faults import EACH_STEP, Checkpointer, np, restored, state_of
path = sys.argv[1]
checkpointer = Checkpointer(path, EACH_STEP)
checkpointer.save(1, state_of(1), {})
checkpointer.wait()
FILL
checkpointer.save(2, state_of(2), {})
try:
    if sys.argv[2] == "save":
        while not checkpointer.save(1, state_of(1), {}):
            pass
    else:
        checkpointer.wait()
except ValueError as error:
    print(error)
assert checkpointer.steps() == [1], checkpointer.steps()
assert np.array_equal(restored(path, 1), state_of(1)["w"])
"""
MOUNT = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=40m none "$0" && exec "$@"']
CAN_MOUNT = subprocess.run([*MOUNT, "/tmp", "true"], capture_output=True, check=False).returncode


@pytest.mark.parametrize("noticed", ["save", "wait"])
@pytest.mark.parametrize("kind", ["limit", "tmpfs"] if CAN_MOUNT == 0 else ["limit"])
def test_no_space_left_is_told_and_the_last_checkpoint_stays(
    tmp_path: Path, kind: str, noticed: str
) -> None:
    script = SAVE_TO_FULL.replace("FILL", FILL[kind])
    command = [sys.executable, "-c", script, str(tmp_path), noticed]
    if kind == "tmpfs":
        command = [*MOUNT, str(tmp_path), *command]
    child = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, text=True, capture_output=True, check=False, timeout=100
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith(f"checkpoints={tmp_path} must {SAID[kind]}")
    assert "(step 1 is the last good one); try" in child.stdout


RESTORE = """
import sys
from tests.test_train_checkpoint_faults import restored
try:
    restored(sys.argv[1], 2)
except ValueError as error:
    print(error)
"""


def test_damaged_arrays_are_told_and_the_earlier_checkpoint_named(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path, EACH_STEP)
    for step in (1, 2):
        checkpointer.save(step, state_of(step), {})
    checkpointer.close()
    for path in (tmp_path / "2" / "state").glob("**/d/*"):
        os.truncate(path, path.stat().st_size // 2)
    # A process of its own: Orbax gives up at the first error, the others come up whenever.
    child = subprocess.run(
        [sys.executable, "-c", RESTORE, str(tmp_path)],
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        check=True,
        timeout=100,
    )
    assert child.stdout.startswith(f"checkpoint={tmp_path / '2'} must be readable, because")
    assert child.stdout.endswith("try step 1\n")
    assert np.array_equal(restored(tmp_path, 1), state_of(1)["w"])
