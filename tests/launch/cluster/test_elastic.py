"""How many processes continue, and on which mesh; and a job that really loses a process."""

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from launch.cluster.elastic import largest_job
from launch.config import MeshConfig, RunConfig
from launch.presets.preset import preset
from tests.command import ROOT, SMALL, arguments, records


def run(mesh: MeshConfig, batch_size: int = 8) -> RunConfig:
    tiny = preset("tiny")
    train = dataclasses.replace(tiny.train, batch_size=batch_size)
    return dataclasses.replace(tiny, mesh=mesh, train=train)


@pytest.mark.parametrize(
    ("mesh", "batch_size", "most", "devices", "fit"),
    [
        (MeshConfig(), 8, 3, 1, (2, [], "fsdp 2")),
        (MeshConfig(replica=-1, fsdp=2), 12, 3, 2, (3, [], "replica 3 x fsdp 2")),
        (MeshConfig(fsdp=4), 8, 3, 1, (2, ["--mesh.fsdp=-1"], "fsdp 2")),
        (MeshConfig(replica=4, fsdp=2), 8, 3, 2, (2, ["--mesh.replica=-1"], "replica 2 x fsdp 2")),
        (MeshConfig(tensor=2), 8, 3, 1, (2, [], "tensor 2")),
        (MeshConfig(fsdp=1, tensor=4), 8, 3, 1, None),
        (MeshConfig(), 7, 3, 2, None),
    ],
)
def test_the_largest_number_that_fits_is_chosen(
    mesh: MeshConfig, batch_size: int, most: int, devices: int, fit: tuple | None
) -> None:
    assert largest_job(run(mesh, batch_size), most, 1, devices) == fit


def test_fewer_than_the_minimum_never_continue() -> None:
    assert largest_job(run(MeshConfig()), 3, 3, 1) is None


LOST = """
import os, signal
if os.environ.get("JAX_NUM_PROCESSES") == "2" and os.environ["JAX_PROCESS_ID"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_job_continues_without_the_process_that_does_not_come_back(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(LOST)
    there = tmp_path / "run"
    words = "launch local --processes 2 --min-processes 1 train tiny --train.steps 2".split()
    done = subprocess.run(
        arguments(*words, *SMALL, "--train.eval-batches", "0", "--run-dir", str(there)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if "attempt" in line or "continuing" in line]
    assert len(lines) == 3
    assert lines[0].startswith("process 1 was killed by SIGKILL, after 0 s; attempt 2")
    assert lines[1].startswith("continuing with 1 of 2 processes, mesh of one device: no process 1")
    assert lines[2].startswith("process 1 was killed by SIGKILL, after 0 s; attempt 3")
    assert [r["step"] for r in records(there)] == [1, 2]
