"""Two real processes of one job: what one of them does when the other is late, or gone."""

from pathlib import Path

from launch.exit_codes import UNEXPECTED
from launch.run.timeline import read
from tests.command import SMALL, job, records

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
