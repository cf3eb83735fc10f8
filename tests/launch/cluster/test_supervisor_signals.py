"""The supervisor's decisions when it is sent signals itself."""

import os
import signal
import threading
from pathlib import Path

import pytest

from launch.cluster import supervisor
from tests.programs import Programs, gone, hurry


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_is_passed_on_once_and_ends_the_job(number: int, tmp_path: Path) -> None:
    program = f"""
def heard(number, frame):
    with open(os.environ["HERE"] + "/heard-%d" % rank, "a") as file:
        file.write("x")
    while not all(os.path.exists(os.environ["HERE"] + "/heard-%d" % n) for n in range(3)):
        threading.Event().wait(0.01)  # the first to leave ends the others after a grace
    beat(4)
    os._exit(75)
signal.signal({number:d}, heard)
with open(os.environ["HERE"] + "/ready", "wb") as ready:
    ready.write(b"x")
threading.Event().wait()
"""
    os.mkfifo(tmp_path / "ready")
    job = Programs(program, tmp_path)
    code: list[int] = []
    with open(os.open(tmp_path / "ready", os.O_RDWR), "rb", buffering=0) as ready:
        running = threading.Thread(target=lambda: code.append(job.run()))
        running.start()
        for _ in range(3):
            ready.read(1)
        job.events.put(number)
        running.join()
    assert code == [75] and job.started == [3] and job.why == "stopped"
    assert [(tmp_path / f"heard-{rank}").read_text() for rank in range(3)] == ["x"] * 3


READY = """
with open(os.environ["HERE"] + "/ready", "wb") as ready:
    ready.write(b"x")
"""


def signalled(job: Programs, folder: Path, *numbers: int) -> int:
    """The exit code after these signals, sent at once when all three programs are ready."""
    os.mkfifo(folder / "ready")
    code: list[int] = []
    with open(os.open(folder / "ready", os.O_RDWR), "rb", buffering=0) as ready:
        running = threading.Thread(target=lambda: code.append(job.run()))
        running.start()
        for _ in range(3):
            ready.read(1)
        for number in numbers:
            job.events.put(number)
        running.join()
    return code[0]


@pytest.mark.parametrize(
    ("code", "said"), [(75, []), (70, ["process 0 ended with 70 (an unexpected exception)"])]
)
def test_a_signal_sent_twice_counts_once_and_the_code_says_whether_all_saved(
    code: int, said: list[str], tmp_path: Path
) -> None:
    program = f"""
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
{READY}
signal.sigwait([signal.SIGTERM])
time.sleep(0.3 + rank)
os._exit({code})
"""
    job = Programs(program, tmp_path)
    assert signalled(job, tmp_path, signal.SIGTERM, signal.SIGTERM) == code
    assert job.said == said and job.why == "stopped"


def test_a_second_signal_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "SAME", 0.0)
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    job = Programs(f"{ignore}\n{READY}\nthreading.Event().wait()", tmp_path)
    assert signalled(job, tmp_path, signal.SIGTERM, signal.SIGTERM) == 143
    assert all(map(gone, job.pids))


def test_a_signal_during_the_pause_ends_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 1000.0)
    job = Programs("os._exit(70)", tmp_path)

    def say(line: str) -> None:
        if "attempt 3" in line:
            job.events.put(signal.SIGTERM)

    job.say = say
    assert job.run() == 75 and job.started == [3, 3]
