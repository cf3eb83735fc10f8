"""The supervisor's decisions about processes that fail, hang or make no progress."""

import os
from pathlib import Path

import pytest

from launch.cluster import output, pulse, supervisor
from tests.programs import Programs, gone, hurry


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


FAULTS = {
    "os.kill(os.getpid(), signal.SIGKILL)": ("was killed by SIGKILL", 137),
    "os.kill(os.getpid(), signal.SIGSEGV)": ("was killed by SIGSEGV", 139),
    "os._exit(70)": ("ended with 70 (an unexpected exception)", 70),
    "os._exit(75)": ("ended with 75 (saved and stopped, by a signal that did not", 75),
    "os._exit(76)": ("ended with 76 (its watchdog took it as hung)", 76),
    "os._exit(0)": ("ended with 0 while others still worked", 70),
    "os.kill(os.getpid(), signal.SIGSTOP)": ("stood still for", 76),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_process_that_fails_is_named_and_all_start_again(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SAVING", 0.2)
    (tmp_path / "saved").write_text("30")
    job = Programs(f"beat_on(37)\nif attempt == 1:\n  others_wait()\n  {fault}\n", tmp_path)
    assert job.run() == 0
    assert job.started == [3, 3] and all(map(gone, job.pids))
    how, _ = FAULTS[fault]
    assert len(job.said) == 1
    assert job.said[0].startswith(f"process 1 {how}")
    assert "at step 37" in job.said[0]
    assert job.said[0].endswith("attempt 2 from step 30")


@pytest.mark.parametrize("fault", FAULTS)
def test_ended_after_restarts_without_progress_with_the_last_code(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SAVING", 0.2)
    program = (
        f"beat_on(7)\nprint('last words', attempt)\nsys.stdout.flush()\nothers_wait()\n{fault}"
    )
    job = Programs(program, tmp_path)
    how, code = FAULTS[fault]
    assert job.run(restarts=1) == code
    assert job.started == [3, 3] and job.why.startswith("2 failures in a row")
    first, last = job.failures
    assert (first.number, last.number, last.step, last.processes) == (1, 1, 7, 3)
    assert last.how.startswith(how)
    assert last.last_lines == ["last words 2"]
    assert last.heartbeat["host"] == "here" and last.heartbeat["phase"] == "step"
    assert len(last.others) == 2 and all("at step 7 and was killed" in o for o in last.others)


def test_progress_earns_new_restarts(tmp_path: Path) -> None:
    """Five failures: two without progress, progress by a checkpoint, by a heartbeat, and none."""
    program = """
beat([3, 3, 3, 9, 9][attempt - 1])
others_wait()
with open(os.environ["HERE"] + "/saved", "w") as file:
    file.write("28888"[attempt - 1])
os._exit(70)
"""
    job = Programs(program, tmp_path)
    assert job.run(restarts=1) == 70
    # Best steps: 3, 8, 8 (no progress) ends it; the ninth step is never tried.
    assert [f.reached for f in job.failures] == [3, 3, 3]
    assert job.why == "2 failures in a row, and none came beyond step 8"


def test_a_newer_checkpoint_is_progress_though_a_later_step_was_reached(tmp_path: Path) -> None:
    program = """
beat([47, 5, 5, 5][attempt - 1])
others_wait()
with open(os.environ["HERE"] + "/saved", "w") as file:
    file.write(["10", "20", "30", "30"][attempt - 1])
os._exit(70)
"""
    job = Programs(program, tmp_path)
    assert job.run(restarts=1) == 70
    assert job.started == [3] * 4
    assert job.why == "2 failures in a row, and none came beyond step 47"


@pytest.mark.parametrize("code", [1, 2])
def test_a_refusal_is_passed_on_and_not_tried_again(code: int, tmp_path: Path) -> None:
    job = Programs(f"others_wait()\nprint('error: no')\nsys.exit({code})", tmp_path)
    assert job.run() == code
    assert job.started == [3]
    assert job.said[0].splitlines()[-1] == "error: no"


def test_a_refusal_of_all_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "DELAY", 60.0)
    program = """
first = os.environ["HERE"] + "/first"
if rank == 0:
    print("a step", flush=True)
    print("error: no", file=sys.stderr, flush=True)
    with open(first + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.replace(first + ".new", first)
    os._exit(1)
while not os.path.exists(first) or os.path.exists("/proc/" + open(first).read()):
    time.sleep(0.01)
os._exit(1)
"""
    job = Programs(program, tmp_path)
    assert job.run() == 1
    said = "\n".join([*job.said, *capfd.readouterr()])
    assert said.count("error: no") == said.count("a step") == 1


def test_a_death_that_makes_others_refuse_is_still_the_cause(tmp_path: Path) -> None:
    program = """
fifo = os.environ["HERE"] + "/fifo"
if attempt == 1 and rank == 1:
    with open(fifo, "wb"):
        os.kill(os.getpid(), signal.SIGKILL)
if attempt == 1:
    with open(fifo, "rb") as peer:
        peer.read()
    time.sleep(0.1)
    sys.exit(1)
"""
    os.mkfifo(tmp_path / "fifo")
    job = Programs(program, tmp_path)
    assert job.run() == 0
    assert job.started == [3, 3] and job.said[0].startswith("process 1 was killed by SIGKILL")


def test_a_short_pause_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "STILL", 10.0)
    program = """
beat(1, "finish")
if rank == 1:
    child = os.fork()
    if child == 0:
        time.sleep(0.5)
        os.kill(os.getppid(), signal.SIGCONT)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGSTOP)
"""
    job = Programs(program, tmp_path)
    assert job.run() == 0
    assert job.started == [3] and job.said == []


def test_no_heartbeat_at_all_is_a_failure_and_costs_the_place(tmp_path: Path) -> None:
    job = Programs("if attempt == 1:\n  if rank != 1:\n    beat_on(1)\n  time.sleep(99)", tmp_path)
    assert job.run(start=3.0, fewest=2) == 0
    assert job.started == [3, 2]
    assert "process 1 gave no sign of life in 3 s from its start" in job.said[0]


def test_the_same_process_twice_without_progress_costs_the_place(tmp_path: Path) -> None:
    job = Programs("beat_on(1)\nif attempt < 3:\n  others_wait()\n  os._exit(70)", tmp_path)
    assert job.run(fewest=2) == 0
    assert job.started == [3, 3, 2]
