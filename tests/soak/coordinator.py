"""The process that hosts the coordination service of a job is killed."""

import random
import time
from pathlib import Path

import psutil

from tests.soak.job import STEPS, Layout, difference, newest_step
from tests.soak.run import Outcome, start, straight


def kill_coordinator(folder: Path, chance: random.Random) -> Outcome:
    """Kill -9 of the process of four at whose port the others meet."""
    layout = Layout(4)
    reference = straight(layout)[0]
    run, output = folder / "run", folder / "output.txt"
    job = start(layout, run, output)
    step = chance.randrange(1, STEPS - 5)
    if not job.until(lambda: newest_step(run) >= step):
        return {"wrong": f"ended before step {step}, see {output}"}
    before = job.trainers()
    hosts = [process for process in before if listens(process)]
    if len(hosts) != 1:
        return {"wrong": f"{len(hosts)} processes listen at the coordinator's port"}
    hosts[0].kill()
    began = time.monotonic()
    job.until(lambda: not any(p.is_running() and p.status() != "zombie" for p in before))
    down = time.monotonic() - began
    reached = newest_step(run)
    job.until(lambda: newest_step(run) > reached or not job.running())
    back = time.monotonic() - began
    code = job.wait()
    wrong = f"ended with {code}" if code else difference(run, reference)
    if not wrong and down > 15:
        wrong = f"down only after {down:.0f} s"
    return {"wrong": wrong, "down_seconds": round(down, 2), "back_seconds": round(back, 2)}


def listens(process: psutil.Process) -> bool:
    """Whether this process takes calls at the port that the job's processes are given."""
    port = int(process.environ()["JAX_COORDINATOR_ADDRESS"].rpartition(":")[2])
    taken = process.net_connections("tcp")
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in taken)
