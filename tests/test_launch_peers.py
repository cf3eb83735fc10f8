"""Two real processes of one job: what one of them does when the other is late, or gone."""

import re
import signal
from pathlib import Path

from command import SMALL, job, lines_until

from launch.exits import UNEXPECTED
from launch.timeline import read

STEPS = [*SMALL, "--train.eval-batches", "0", "--train.steps"]


def test_a_peer_that_was_killed_is_told_as_the_end(tmp_path: Path) -> None:
    processes = job(tmp_path / "run", "tiny", *STEPS, "100000")
    try:
        lines_until(re.compile(r"\s*3/"), processes[0])
        processes[1].send_signal(signal.SIGKILL)
        _, errors = processes[0].communicate(timeout=120)
        assert processes[0].returncode == UNEXPECTED, errors
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    last = read(tmp_path / "run" / "timeline.jsonl")[-1]
    assert last.ended is not None and last.ended.startswith("a peer ended: JaxRuntimeError: ")
