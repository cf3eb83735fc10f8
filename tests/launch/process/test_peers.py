"""Two real processes of one job: what one of them does when the other is late, or gone."""

import os
import re
import signal
from pathlib import Path

import pytest

from launch.exit_codes import REFUSED, UNEXPECTED
from launch.run.timeline import read
from tests.command import SMALL, job, lines_until, records

STEPS = [*SMALL, "--train.eval-batches", "0", "--train.steps"]


LATE = """
import sys, time
import jax
from data.rows.rows import Rows
from launch.cli import program
from launch.process.peers import FOLDER
from train.processes import coordination

batches = Rows.batches
def late(*arguments):
    for number, batch in enumerate(batches(*arguments)):
        if number == 8 and jax.process_index() == 1:
            time.sleep(6)  # longer than a step may take: this wait is what is tested
        while number == 11 and jax.process_index() == 1 and coordination().published(FOLDER):
            time.sleep(0.01)
        yield batch

Rows.batches = late
program(["train", *sys.argv[1:]])
"""


def test_a_process_that_waits_for_data_is_waited_for(tmp_path: Path) -> None:
    limit = ["--train.watchdog.step-seconds", "4"]
    processes = job(tmp_path / "run", "tiny", *STEPS, "12", *limit, code=LATE)
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    waits = [record["data_wait"] for record in records(tmp_path / "run")]
    assert max(waits) < 1, "process 0 had its data"


GONE = """
import os, signal, sys
import jax
from train.checkpoint import arrays
from launch.cli import program

save = arrays.save
def gone(*arguments):
    if jax.process_index() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    save(*arguments)

arrays.save = gone
program(["train", *sys.argv[1:]])
"""


def test_a_peer_killed_in_a_save_is_reported_as_the_end(tmp_path: Path) -> None:
    saves = ["--train.checkpoint.every-steps", "1"]
    processes = job(tmp_path / "run", "tiny", *STEPS, "100000", *saves, code=GONE)
    try:
        _, errors = processes[0].communicate(timeout=120)
        assert processes[0].returncode == UNEXPECTED, errors
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    last = read(tmp_path / "run" / "timeline.jsonl")[-1]
    assert last.ended is not None and last.ended.startswith("a peer ended: JaxRuntimeError: ")


REFUSED_LATE = """
import os, sys
import jax
from launch.cli import program
from launch.process import mesh
from train.processes import Coordination

make, barrier, end = mesh.make_mesh, Coordination.barrier, os._exit
released = os.open(os.environ["RELEASED"], os.O_RDWR)

def make_late(*arguments):
    if jax.process_index() == 1:
        os.read(released, 1)
    return make(*arguments)

def announce(*arguments):
    print("waits", flush=True)
    barrier(*arguments)

def end_late(code):
    if jax.process_index() == 1:
        os.read(released, 1)
    end(code)

mesh.make_mesh, Coordination.barrier, os._exit = make_late, announce, end_late
program(["train", *sys.argv[1:]])
"""


def test_a_refusal_is_that_of_every_process_though_a_peer_is_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "released")
    monkeypatch.setenv("RELEASED", str(tmp_path / "released"))
    mesh = ["--mesh.fsdp", "3"]
    first, second = job(tmp_path / "run", "tiny", *STEPS, "2", *mesh, code=REFUSED_LATE)
    with open(os.open(tmp_path / "released", os.O_RDWR), "wb", buffering=0) as release:
        lines_until(re.compile("waits"), first)
        release.write(b"x")
        ended = [first.communicate(timeout=60)]
        release.write(b"x")
        ended.append(second.communicate(timeout=60))
    assert [first.returncode, second.returncode] == [REFUSED, REFUSED], ended
    assert all("mesh fsdp 3 must multiply to" in errors for _, errors in ended)


REFUSED_ALONE = """
import os, signal, sys
import jax
from launch.cli import program
from launch.process import exits, mesh

def make(*arguments, make=mesh.make_mesh):
    if jax.process_index() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(*arguments)

mesh.make_mesh, exits.PEERS_REFUSE = make, 1
program(["train", *sys.argv[1:]])
"""


def test_a_refusal_does_not_wait_for_ever_for_a_dead_peer(tmp_path: Path) -> None:
    mesh = ["--mesh.fsdp", "3"]
    processes = job(tmp_path / "run", "tiny", *STEPS, "2", *mesh, code=REFUSED_ALONE)
    ended = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [REFUSED, -signal.SIGKILL], ended
