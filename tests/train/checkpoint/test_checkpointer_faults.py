"""What is left after a process is killed while it saves, and after the disk is full."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.command import ROOT
from train.checkpoint.checkpointer import Checkpointer
from train.config import CheckpointConfig

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
from tests.train.checkpoint.test_checkpointer_faults import EACH_STEP, Checkpointer, state_of
checkpointer = Checkpointer(sys.argv[1], EACH_STEP)
for step in range(1, 10_000):
    checkpointer.save(step, state_of(step), {"examples_seen": step})
"""


def kill_during(path: Path, names: str) -> None:
    """Kill a process that saves each step while a folder called like `names` is there."""
    child = subprocess.Popen(
        [sys.executable, "-c", SAVE_FOR_EVER, str(path)], cwd=ROOT, env=ENVIRONMENT
    )

    def under_way() -> bool:
        return any(int(p.name.partition(".")[0]) > 2 for p in path.glob(names))

    try:
        while child.poll() is None:
            if under_way():
                child.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                if under_way():
                    break
                child.send_signal(signal.SIGCONT)
        assert child.returncode is None
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("names", ["*.saving", "*.deleting"])
def test_killed_while_saving_or_deleting_leaves_whole_checkpoints(
    tmp_path: Path, names: str
) -> None:
    kill_during(tmp_path, names)
    checkpointer = Checkpointer(tmp_path, EACH_STEP)
    steps = checkpointer.steps()
    assert len(steps) >= 2
    for step in steps:
        assert checkpointer.faults(step) == []
        np.testing.assert_array_equal(restored(tmp_path, step), state_of(step)["w"])
        assert checkpointer.read_meta(step)["examples_seen"] == step
    assert list(tmp_path.glob(names))
    checkpointer.save(steps[-1] + 1, state_of(steps[-1] + 1), {})
    checkpointer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == [str(n) for n in checkpointer.steps()]


FILL = {
    "tmpfs": "with open(path + '/filler', 'wb', 0) as file, suppress(OSError):\n"
    "    while file.write(bytes(1 << 12)): pass",
    "readonly": "subprocess.run(['mount', '-o', 'remount,ro', path], check=True)",
    "limit": "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))",
}
SAID = {"tmpfs": "have room, because saving step 2 failed: No space left on device"}
SAID["readonly"] = "be writable, because saving step 2 failed: Read-only file system"
SAID["limit"] = "be writable, because saving step 2 failed: File too large"
SAVE_TO_FULL = """
import resource, subprocess, sys
from contextlib import suppress
from tests.train.checkpoint.test_checkpointer_faults import EACH_STEP, Checkpointer, np
from tests.train.checkpoint.test_checkpointer_faults import restored, state_of
path = sys.argv[1]
checkpointer = Checkpointer(path, EACH_STEP)
checkpointer.save(1, state_of(1), {})
checkpointer.wait()
FILL
try:
    checkpointer.save(2, state_of(2), {})
    if sys.argv[2] == "save":
        while not checkpointer.save(1, state_of(1), {}):
            pass
    else:
        checkpointer.wait()
except ValueError as error:
    print(error)
checkpointer.close()
assert checkpointer.steps() == [1], checkpointer.steps()
assert np.array_equal(restored(path, 1), state_of(1)["w"])
"""
MOUNT = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=40m none "$0" && exec "$@"']
CAN_MOUNT = (
    shutil.which("unshare")
    and not subprocess.run([*MOUNT, "/tmp", "true"], capture_output=True, check=False).returncode
)


CASES = [("tmpfs", "save"), ("tmpfs", "wait"), ("readonly", "save")] if CAN_MOUNT else []


@pytest.mark.parametrize(("kind", "noticed"), [("limit", "save"), ("limit", "wait"), *CASES])
def test_a_failed_save_is_reported_and_the_last_checkpoint_stays(
    tmp_path: Path, kind: str, noticed: str
) -> None:
    script = SAVE_TO_FULL.replace("FILL", FILL[kind])
    command = [sys.executable, "-c", script, str(tmp_path), noticed]
    if kind != "limit":
        command = [*MOUNT, str(tmp_path), *command]
    child = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, text=True, capture_output=True, check=False, timeout=100
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith(f"checkpoints={tmp_path} must {SAID[kind]}")
    assert "(step 1 is the last good one); try" in child.stdout


RESTORE = """
import sys
from tests.train.checkpoint.test_checkpointer_faults import restored
try:
    restored(sys.argv[1], 2)
except ValueError as error:
    print(error)
"""


def test_damaged_arrays_are_reported_and_the_earlier_checkpoint_named(tmp_path: Path) -> None:
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
