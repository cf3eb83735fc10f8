import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from launch.config import DistributedConfig
from launch.process.distributed import Membership, detect, from_first_process, has_tpu, start
from tests.command import ROOT, SMALL

SLURM = {
    "SLURM_JOB_ID": "5000",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[007-010,12],other",
}
JOBSET = {
    "JOB_COMPLETION_INDEX": "1",
    "JAX_NUM_PROCESSES": "4",
    "JOBSET_NAME": "run",
    "REPLICATED_JOB_NAME": "workers",
}
JAX = {
    "JAX_COORDINATOR_ADDRESS": "host:1234",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": "1",
}
EXPLICIT = DistributedConfig(coordinator="host:1234", num_processes=2, process_id=1)

DECIDED_BY_FIRST = """
import sys
from launch.process import distributed
from data.errors import UserError
from launch.config import DistributedConfig

distributed.start(DistributedConfig(start_timeout=60))
import jax

def make():
    if sys.argv[1] == "refuse":
        raise UserError("run_dir=x must be new")
    if sys.argv[1] == "full":
        raise OSError(28, "No space left on device", "runs/x")
    if sys.argv[1] == "broken":
        raise TypeError("a mistake")
    assert jax.process_index() == 0
    return "pfad-\\u00fc"

try:
    text = distributed.from_first_process(make)
except (ValueError, TypeError, RuntimeError) as error:
    text = f"{type(error).__name__}: {error}"
print(jax.process_index(), jax.process_count(), jax.device_count(), ascii(text), flush=True)
"""


@pytest.mark.parametrize(
    ("config", "environment", "job"),
    [
        (DistributedConfig(), {}, None),
        (DistributedConfig(start="none"), SLURM | JAX, None),
        (EXPLICIT, {}, Membership("explicit", "host:1234", 2, 1)),
        (DistributedConfig(), JAX, Membership("explicit", "host:1234", 2, 1)),
        (DistributedConfig(process_id=0), JAX, Membership("explicit", "host:1234", 2, 0)),
        (EXPLICIT, SLURM, Membership("explicit", "host:1234", 2, 1)),
        (DistributedConfig(), SLURM, Membership("slurm", "gpu007:62344", 4, 3)),
        (DistributedConfig(start="slurm"), SLURM | JAX, Membership("slurm", "gpu007:62344", 4, 3)),
        (DistributedConfig(coordinator="a:9"), SLURM, Membership("slurm", "a:9", 4, 3)),
        (DistributedConfig(), JOBSET, Membership("kubernetes", "run-workers-0-0.run:8476", 4, 1)),
        (
            DistributedConfig(),
            JOBSET | {"JOB_INDEX": "1", "PODS_PER_JOB": "2"},
            Membership("kubernetes", "run-workers-0-0.run:8476", 4, 3),
        ),
        (
            DistributedConfig(),
            JOBSET | {"JAX_COORDINATOR_ADDRESS": "svc:99"},
            Membership("kubernetes", "svc:99", 4, 1),
        ),
        (DistributedConfig(), {"TPU_WORKER_HOSTNAMES": "a,b"}, Membership("tpu", None, None, None)),
        (DistributedConfig(), {"TPU_WORKER_HOSTNAMES": "a,b", "JAX_PLATFORMS": "cpu"}, None),
        # A batch script without srun has a job but no step: one process.
        (DistributedConfig(), {"SLURM_JOB_ID": "5000", "SLURM_PROCID": "0"}, None),
    ],
)
def test_job_is_detected(
    config: DistributedConfig, environment: dict[str, str], job: Membership | None
) -> None:
    assert detect(config, environment) == job


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("node[001-015],x", "node001"),
        ("node[3,7-9]", "node3"),
        ("rack[1-2]-ib", "rack1-ib"),
    ],
)
def test_first_slurm_host_is_the_coordinator(nodes: str, host: str) -> None:
    job = detect(DistributedConfig(), SLURM | {"SLURM_STEP_NODELIST": nodes})
    assert job is not None and job.coordinator == f"{host}:62344"


@pytest.mark.parametrize(
    ("environment", "devices"),
    [
        ({}, None),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x4)"}, None),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, [1]),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "CUDA_VISIBLE_DEVICES": "0,1"}, [1]),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "CUDA_VISIBLE_DEVICES": "1"}, None),
    ],
)
def test_slurm_tasks_of_a_node_share_its_gpus(
    environment: dict[str, str], devices: list[int] | None
) -> None:
    job = detect(DistributedConfig(), SLURM | environment)
    assert job is not None and job.local_devices == devices


@pytest.mark.parametrize("start", ["explicit", "slurm", "kubernetes", "tpu"])
def test_named_start_without_its_settings_is_refused(start: str) -> None:
    with pytest.raises(ValueError, match=f"distributed.start={start} must find its settings"):
        detect(DistributedConfig(start=start), {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "environment", "words"),
    [
        (DistributedConfig(coordinator="a:1"), {}, "must be given together"),
        (DistributedConfig(process_id=2), JAX, "process_id=2 must be from 0 to 1"),
        (DistributedConfig(), SLURM | {"SLURM_PROCID": "x"}, "SLURM_PROCID='x' must be a whole"),
        (DistributedConfig(), SLURM | {"SLURM_STEP_NODELIST": ""}, "must begin with a host"),
    ],
)
def test_settings_that_contradict_are_refused(
    config: DistributedConfig, environment: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        detect(config, environment)


def test_tpu_behind_vfio_needs_its_library_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vfio").mkdir()
    (tmp_path / "vfio" / "vfio").touch()
    (tmp_path / "libtpu").mkdir()
    (tmp_path / "libtpu" / "__init__.py").touch()
    assert not has_tpu(tmp_path)
    (tmp_path / "vfio" / "0").touch()
    # The tests' own environment holds libtpu, for its compiler.
    monkeypatch.delitem(sys.modules, "libtpu", raising=False)
    with monkeypatch.context() as without:
        without.setattr(sys, "path", [])
        alone = has_tpu(tmp_path)
    assert not alone
    monkeypatch.syspath_prepend(tmp_path)
    assert has_tpu(tmp_path)
    assert not has_tpu(tmp_path / "libtpu")


def test_a_process_alone_decides_for_itself() -> None:
    assert from_first_process(lambda: "text") == "text"


def test_disk_that_refuses_the_first_process_reads_well(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "run"
    with pytest.raises(
        ValueError, match=r"the run directory must be usable, .*file/run: Not a directory; try "
    ):
        from_first_process(lambda: str(folder.mkdir()))


def test_trouble_of_a_disk_that_may_pass_is_no_refusal() -> None:
    def fail() -> str:
        raise OSError(errno.ESTALE, "Stale file handle", "run")

    with pytest.raises(OSError, match="Stale"):
        from_first_process(fail)


def test_taken_port_that_no_user_chose_is_no_refusal() -> None:
    job = {"SLURM_STEP_NODELIST": "localhost", "SLURM_PROCID": "0"}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 61440 + 5000 % 4096))
        taken.listen()
        with pytest.raises(RuntimeError, match="is in use"):
            start(DistributedConfig(), SLURM | job)


@pytest.mark.parametrize(
    ("argument", "first", "second"),
    [
        ("decide", r"'pfad-\xfc'", r"'pfad-\xfc'"),
        ("refuse", "'UserError: run_dir=x must be new'", "'UserError: run_dir=x must be new'"),
        (
            "full",
            "the run directory must be usable, because the run lies there, but runs/x: No space",
            "the run directory must be usable, because the run lies there, but runs/x: No space",
        ),
        (
            "broken",
            "'TypeError: a mistake'",
            "RuntimeError: process 0 failed, by TypeError: a mistake",
        ),
    ],
)
def test_two_real_processes_get_the_decision_of_the_first(
    argument: str, first: str, second: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from launch.cluster.local import LocalOptions, run_local

    script = tmp_path / "decided.py"
    script.write_text(DECIDED_BY_FIRST)
    code = run_local(
        [sys.executable, str(script), argument], LocalOptions(processes=2, devices_per_process=2)
    )
    lines = capfd.readouterr().out.splitlines()
    assert code == 0
    assert any(line.startswith("0 2 4 ") and first in line for line in lines)
    assert any(line.startswith("[1] 1 2 4 ") and second in line for line in lines)


SLOW_END = """
import sys, time
import jax
import launch.process.distributed
from launch.cli import program
from launch.run.report import Report

launch.process.distributed.SHUTDOWN_TIMEOUT = 1
finish = Report.finish
def slow(*arguments):
    finish(*arguments)
    if jax.process_index() == 0:
        time.sleep(5)  # longer than the shutdown may take: this pause is what is tested

Report.finish = slow
program(["train", "tiny", *sys.argv[1:]])
"""


def test_processes_that_are_done_wait_for_the_last_to_write(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    words = [*SMALL, "--train.steps", "2", "--run-dir", str(tmp_path / "run")]
    job = JAX | {"JAX_COORDINATOR_ADDRESS": address}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SLOW_END, *words],
            cwd=ROOT,
            env=os.environ | job | {"JAX_PROCESS_ID": str(index)},
        )
        for index in range(2)
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
