"""Real signals to real processes: they stop at one step, saved, and resume as if never stopped."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.exit_codes import STOPPED, UNEXPECTED
from launch.run.timeline import read
from tests.command import (
    FORTY,
    ROOT,
    SMALL,
    compile_as_users_do,
    job,
    lines_until,
    meshloom,
    records,
    started,
)

STEPS = "--train.steps 60 --train.eval-batches 0 --train.checkpoint.every-steps 20".split()
AFTER_3 = re.compile(r"\s*3/")


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it still printed until its end, which a signal has asked for."""
    out, errors = process.communicate(timeout=120)
    assert process.returncode == STOPPED, f"exit {process.returncode}\n{out}\n{errors}"
    assert "Traceback" not in errors
    return out, errors


def saved(run: Path) -> list[int]:
    folder = run / "checkpoints"
    return sorted(int(p.name) for p in folder.iterdir()) if folder.is_dir() else []


def losses(run: Path) -> dict[int, float]:
    return {r["step"]: r["loss"] for r in records(run)}


def test_a_process_saves_its_last_step_and_resumes_bit_equal(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_as_users_do(monkeypatch)
    run = tmp_path / "run"
    process = started("tiny", *SMALL, *FORTY, "--run-dir", str(run))
    lines_until(AFTER_3, process)
    process.send_signal(signal.SIGTERM)
    out, errors = ended(process)
    assert errors == "SIGTERM: stopping after this step; a second signal exits at once\n"
    step = saved(run)[-1]
    said = (
        f"stopped by SIGTERM at step {step}, saved; to continue: python -m launch train --run-dir"
    )
    assert said in out and out.endswith(f"{run} --resume\n") and "loss curve" not in out
    assert max(losses(run)) == step and not (run / "loss.png").exists()
    out = meshloom("train", "--run-dir", str(run), "--resume").stdout
    assert f"resuming from step {step}," in out
    assert losses(run) == losses(finished)


def test_two_processes_stop_at_the_same_step(tmp_path: Path) -> None:
    run = tmp_path / "run"
    processes = job(run, "tiny", *SMALL, *STEPS)
    lines_until(AFTER_3, processes[0])
    processes[1].send_signal(signal.SIGUSR1)
    out, other = (ended(process) for process in processes)
    assert f"stopped by SIGUSR1 at step {saved(run)[-1]}, saved" in out[0]
    assert "SIGUSR1: stopping after this step" in other[1] and "SIGUSR1" not in out[1]

    processes = job(run, "--resume")
    lines_until(re.compile("resuming from step"), processes[0])
    for process in processes:
        process.send_signal(signal.SIGINT)
    out, _ = (ended(process) for process in processes)
    assert "stopped by SIGINT" in out[0]


def test_during_an_evaluation_it_stops_as_soon_as_that_is_done(tmp_path: Path) -> None:
    run, heartbeat = tmp_path / "run", tmp_path / "heartbeat"
    words = ["--train.eval-every", "1", "--train.eval-batches", "4000", "--train.steps", "9"]
    process = started(
        "tiny", *SMALL, *words, "--run-dir", str(run), MESHLOOM_HEARTBEAT=str(heartbeat)
    )
    pause = threading.Event()
    while not (heartbeat.exists() and '"phase": "evaluate"' in heartbeat.read_text()):
        assert process.poll() is None
        pause.wait(0.05)
    process.send_signal(signal.SIGTERM)
    out, _ = ended(process)
    (step,) = saved(run)
    assert f"{step}/9  held-out loss" in out and f"at step {step}, saved" in out


def test_before_the_first_step_it_leaves_at_once_and_saves_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = started("tiny", *SMALL, *STEPS, "--run-dir", str(run))
    lines_until(re.compile("run: "), process)
    process.send_signal(signal.SIGTERM)
    out, _ = ended(process)
    assert "stopped by SIGTERM before the first step: nothing to save; to continue: python" in out
    assert saved(run) == []
    assert read(run / "timeline.jsonl")[-1].ended == "stopped by SIGTERM before a step"


ALONE = "exits.leave_on_thread_errors(); stop = interrupt.Stop()"
IN_A_JOB = """
import jax
class FakeJob:
    is_first = True
    def get(self, key):
        asked.wait()
        return 'SIGINT'
    def set(self, key, value):
        asked.set()
    def publish(self, folder, value):
        pass
    def barrier(self, name, seconds):
        if name == 'meshloom/stop-read':
            raise jax.errors.JaxRuntimeError('the coordinator is gone')
    def published(self, folder):
        return ['0', '0']
exits.leave_on_thread_errors(); asked = threading.Event()
stop = interrupt.Stop(); stop.agree_over(FakeJob())"""


@pytest.mark.parametrize(
    ("begin", "code"), [(ALONE, STOPPED), (IN_A_JOB, UNEXPECTED)], ids=["alone", "in a job"]
)
def test_a_start_whose_readers_are_gone_ends_at_a_signal(begin: str, code: int) -> None:
    program = (
        "import threading\n"
        "from launch.process import exits; from launch.process import interrupt\n"
        f"{begin}\n"
        "print('ready', flush=True)\n"
        "threading.Event().wait()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(20) == code
    finally:
        process.kill()


def test_a_second_signal_ends_a_process_whose_main_thread_is_stuck() -> None:
    program = (
        "import threading\n"
        "from launch.process import interrupt\n"
        "interrupt.SAME = 3.0\n"
        "stop = interrupt.Stop(); stop.reached()\n"
        "print('ready', flush=True)\n"
        "lock = threading.Lock(); lock.acquire(); lock.acquire()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline().startswith("SIGTERM: stopping after this step")
        process.send_signal(signal.SIGTERM)  # the same one, passed on by another
        for _ in pressed_again_and_again(process):
            process.send_signal(signal.SIGINT)
    assert process.returncode == 128 + signal.SIGINT


def pressed_again_and_again(process: subprocess.Popen[str]) -> Iterator[None]:
    while True:
        try:
            process.wait(0.2)
            return
        except subprocess.TimeoutExpired:
            yield
