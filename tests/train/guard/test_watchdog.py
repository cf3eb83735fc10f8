import dataclasses
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launch.exit_codes import HUNG
from launch.run.timeline import read
from tests.command import ROOT, SMALL
from train.config import WatchdogConfig
from train.guard import watchdog
from train.report.phases import Phases

NEVER = WatchdogConfig(step_seconds=1e6, phase_minutes=1e6)


@contextmanager
def watched(
    phases: Phases, config: WatchdogConfig, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[watchdog.Watchdog, list[str], threading.Event]]:
    """A watchdog that looks often, what it says, and an event when it has said it."""
    monkeypatch.setattr(watchdog, "TICK", 0.01)
    said: list[str] = []
    event = threading.Event()

    def hung(what: str) -> None:
        said.append(what)
        event.set()

    dog = watchdog.Watchdog(phases, config, hung)
    try:
        yield dog, said, event
    finally:
        dog.close()


def begin_steps(phases: Phases, steps: int = watchdog.MIN_STEPS) -> None:
    phases.begin_steps(0)
    for step in range(steps):
        phases.finished(step + 1, 0.0)


def stepping(steps: int) -> Phases:
    phases = Phases()
    begin_steps(phases, steps)
    return phases


def test_a_step_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(NEVER, step_seconds=0.05)
    with watched(stepping(watchdog.MIN_STEPS), config, monkeypatch) as (_, said, event):
        assert event.wait(60)
    assert said[0].startswith("the step after step 3, for 0.") and "limit 0.1 s, median" in said[0]


def test_the_median_gives_slow_steps_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    phases = stepping(watchdog.MIN_STEPS)
    phases.recent.extend([1e5] * 5)
    config = WatchdogConfig(step_seconds=1e-3, step_medians=10, phase_minutes=1e6)
    with watched(phases, config, monkeypatch) as (dog, said, _):
        ticks_of(dog, 10)
    assert not said


@pytest.mark.parametrize("name", ["compile", "evaluate", "save", "restore", "finish"])
def test_another_phase_that_takes_too_long(name, monkeypatch: pytest.MonkeyPatch) -> None:
    phases = stepping(watchdog.MIN_STEPS)
    phases.enter(name)
    config = dataclasses.replace(NEVER, phase_minutes=1e-3)
    with watched(phases, config, monkeypatch) as (_, said, event):
        assert event.wait(60)
    assert said[0].startswith(f"{name}, for ")


def test_first_steps_have_the_limit_of_other_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    config = WatchdogConfig(step_seconds=1e-3, step_medians=1e-3, phase_minutes=1e6)
    with watched(stepping(watchdog.MIN_STEPS - 1), config, monkeypatch) as (dog, said, _):
        ticks_of(dog, 10)
    assert not said


def test_a_wait_for_data_has_the_limit_of_other_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    phases = stepping(watchdog.MIN_STEPS)
    config = WatchdogConfig(step_seconds=1e-3, step_medians=1e-3, phase_minutes=1e6)
    with phases.fetching(), watched(phases, config, monkeypatch) as (dog, said, _):
        ticks_of(dog, 10)
        assert not said
    config = dataclasses.replace(NEVER, phase_minutes=1e-3)
    with phases.fetching(), watched(phases, config, monkeypatch) as (_, said, event):
        assert event.wait(60)
    assert said[0].startswith("the wait for data, for ")


def test_a_save_in_the_background_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    phases = stepping(watchdog.MIN_STEPS)
    config = dataclasses.replace(NEVER, phase_minutes=1e-3)
    with watched(phases, config, monkeypatch) as (dog, said, event):
        since = time.monotonic()
        dog.saving_since = lambda: since
        assert event.wait(60)
    assert said[0].startswith("a save in the background, for ")


def test_a_step_that_waits_for_another_process_has_not_hung(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phases = Phases()
    config = dataclasses.replace(NEVER, step_seconds=0.05)
    with watched(phases, config, monkeypatch) as (dog, said, event):
        dog.delayed_at = time.monotonic
        begin_steps(phases)
        ticks_of(dog, 20)
        assert not said
        last = time.monotonic()
        dog.delayed_at = lambda: last
        assert event.wait(60)
    assert "s of them since another process was late (limit 0.1 s" in said[0]


def test_the_wait_for_another_process_has_the_limit_of_other_phases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phases = Phases()
    config = WatchdogConfig(step_seconds=0.05, phase_minutes=5e-3)
    with watched(phases, config, monkeypatch) as (dog, said, event):
        dog.delayed_at = time.monotonic
        begin_steps(phases)
        assert event.wait(60)
    assert said[0].startswith("the step after step 3, for 0.3 s, 0.0 s of them since another")


def ticks_of(dog: watchdog.Watchdog, number: int) -> None:
    """Return when it has looked so many times more."""
    pause = threading.Event()
    until = dog._awake + number * watchdog.TICK
    for _ in range(3000):
        if dog._awake >= until:
            return
        pause.wait(0.01)
    raise AssertionError("it looks no more")


def test_a_process_that_was_stopped_for_a_while_has_not_hung() -> None:
    program = (
        "import os, time\n"
        "from train.config import WatchdogConfig\n"
        "from train.report.phases import Phases\n"
        "from train.guard.watchdog import Watchdog\n"
        "config = WatchdogConfig(step_seconds=4, step_medians=1)\n"
        "phases = Phases(); phases.begin_steps(0)\n"
        "for step in (1, 2, 3):\n"
        "    phases.finished(step, 0.0)\n"
        "Watchdog(phases, config, lambda what: os._exit(76))\n"
        "for part in range(150):\n"
        "    time.sleep(0.01)\n"
        "    if part == 90: print('within step 4', flush=True)\n"
        "phases.finished(4, 0.0)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "within step 4\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(5)  # longer than the limit: this pause is what is tested
        process.send_signal(signal.SIGCONT)
    assert process.returncode == 0


def test_a_hung_run_shows_every_stack_and_ends_with_its_code(tmp_path: Path) -> None:
    program = (
        "import sys, threading\n"
        "from train.report.record import Recorder\n"
        "from launch.cli import program\n"
        "add = Recorder.add\n"
        "def stuck(recorder, place, *others):\n"
        "    if place.step == 9:\n"
        "        threading.Event().wait()\n"
        "    add(recorder, place, *others)\n"
        "Recorder.add = stuck\n"
        "program(['train', 'tiny', *sys.argv[1:]])\n"
    )
    words = [*SMALL, "--train.eval-batches", "0", "--train.watchdog.step-seconds", "2"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words, "--run-dir", str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == HUNG
    assert "hung: process 0 on " in done.stderr and ": the step after step 8, for " in done.stderr
    last = read(tmp_path / "run" / "timeline.jsonl")[-1]
    assert last.ended is not None and last.ended.startswith("hung: the step after step 8, for ")
    assert "in stuck" in done.stderr and "train/loop.py" in done.stderr
