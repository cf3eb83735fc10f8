"""Starts jax.distributed: finds the processes of a job by settings, Slurm, Kubernetes or TPU."""

import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax

from data import system
from data.errors import UserError
from launch.config import DistributedConfig
from launch.process.coordinator import bind_address, check_address, check_port_free, tls_arguments
from train.processes import coordination, decided

KUBERNETES_PORT = 8476
SHUTDOWN_TIMEOUT = 10  # seconds; JAX's 300 leave the peers of a failed process hanging that long


class Membership(NamedTuple):
    """One process's place in a job; None where JAX detects it (TPU)."""

    start: str
    coordinator: str | None
    num_processes: int | None
    process_id: int | None
    local_devices: list[int] | None = None


def detect(config: DistributedConfig, environment: Mapping[str, str]) -> Membership | None:
    """The job this process belongs to, or None for a process on its own.

    ValueError if `config.start` names a kind of job whose settings or variables are missing.
    """
    if config.start == "none":
        return None
    for kind in KINDS if config.start == "auto" else [config.start]:
        if (job := KINDS[kind][0](config, environment)) is not None:
            return job
    if config.start != "auto":
        raise UserError(
            f"distributed.start={config.start} must find its settings, because the processes "
            f"meet by them, but they are not all there: {KINDS[config.start][1]}; "
            "try --distributed.start auto"
        )
    if (config.coordinator, config.num_processes, config.process_id) != (None, None, None):
        raise UserError(
            "distributed.coordinator, num_processes and process_id must be given together, because "
            f"the missing ones are not known from elsewhere; try {KINDS['explicit'][1]}"
        )
    return None


def start(
    config: DistributedConfig, environment: Mapping[str, str] = os.environ
) -> Membership | None:
    """Join the job, before any device is used; None for a process on its own.

    ValueError as in `detect`, and on process 0 when the coordinator's port is taken (RuntimeError
    if Slurm's job number chose it): JAX would end the process without a message after 20 seconds.
    """
    job = detect(config, environment)
    if job is None or job.num_processes == 1:
        return None
    bind = None
    if job.process_id == 0 and job.coordinator is not None:
        try:
            check_port_free(job.coordinator)
        except ValueError as error:
            if config.coordinator is None and job.start == "slurm":
                raise RuntimeError(str(error)) from error  # not the user's: a restart may help
            raise
        bind = bind_address(job.coordinator, environment)
    # JAX's own handler of SIGTERM takes the signal away from ours (launch.process.interrupt).
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        coordinator_address=job.coordinator,
        coordinator_bind_address=bind,
        num_processes=job.num_processes,
        process_id=job.process_id,
        local_device_ids=job.local_devices,
        cluster_detection_method=None if job.start == "tpu" else "deactivate",
        initialization_timeout=config.start_timeout,
        heartbeat_timeout_seconds=config.heartbeat_timeout,
        shutdown_timeout_seconds=SHUTDOWN_TIMEOUT,
        **tls_arguments(config.tls, jax.distributed.initialize),
    )
    return job


def from_first_process(decide: Callable[[], str]) -> str:
    """Call `decide` on process 0 alone and return its text on every process.

    What it raises ends every process, as `decided` says; a disk of the run directory that is full
    or read-only makes a UserError.
    """

    def on_disk(_: list[str]) -> str:
        with system.usable("the run directory", "the run lies there"):
            return decide()

    return decided("run", on_disk)


def shutdown(seconds: int) -> None:
    """Leave the job together with the other processes, so that the end of none disturbs another.

    JAX itself waits for seconds only, as its wait must also end where a process has failed.
    """
    if (job := coordination()) is not None:
        job.barrier("meshloom/shutdown", seconds)
        jax.distributed.shutdown()


def _explicit(config: DistributedConfig, environment: Mapping[str, str]) -> Membership | None:
    coordinator = config.coordinator or environment.get("JAX_COORDINATOR_ADDRESS")
    count = _number(config.num_processes, environment, "JAX_NUM_PROCESSES")
    index = _number(config.process_id, environment, "JAX_PROCESS_ID")
    return _complete(Membership("explicit", coordinator, count, index))


def _slurm(config: DistributedConfig, environment: Mapping[str, str]) -> Membership | None:
    count = _number(config.num_processes, environment, "SLURM_STEP_NUM_TASKS")
    index = _number(config.process_id, environment, "SLURM_PROCID")
    job_id = _number(None, environment, "SLURM_JOB_ID")
    nodes = environment.get("SLURM_STEP_NODELIST")
    if job_id is None or nodes is None:
        return None
    coordinator = config.coordinator or f"{_first_host(nodes)}:{61440 + job_id % 4096}"
    return _complete(Membership("slurm", coordinator, count, index, _slurm_devices(environment)))


def _kubernetes(config: DistributedConfig, environment: Mapping[str, str]) -> Membership | None:
    count = _number(config.num_processes, environment, "JAX_NUM_PROCESSES")
    index = _number(None, environment, "JOB_COMPLETION_INDEX")
    coordinator = config.coordinator or environment.get("JAX_COORDINATOR_ADDRESS")
    if coordinator is None and {"JOBSET_NAME", "REPLICATED_JOB_NAME"} <= environment.keys():
        name = environment["JOBSET_NAME"]
        coordinator = f"{name}-{environment['REPLICATED_JOB_NAME']}-0-0.{name}"
    if index is None or coordinator is None:
        return None
    if ":" not in coordinator:
        coordinator = f"{coordinator}:{KUBERNETES_PORT}"
    if config.process_id is not None:
        index = config.process_id
    elif job := _number(None, environment, "JOB_INDEX"):
        index += job * (_number(None, environment, "PODS_PER_JOB") or 0)
    return _complete(Membership("kubernetes", coordinator, count, index))


def _tpu(config: DistributedConfig, environment: Mapping[str, str]) -> Membership | None:
    if "tpu" not in environment.get("JAX_PLATFORMS", "tpu"):
        return None
    several = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
    if not (several or "MEGASCALE_COORDINATOR_ADDRESS" in environment or has_tpu(Path("/dev"))):
        return None
    return Membership("tpu", config.coordinator, config.num_processes, config.process_id)


def has_tpu(devices: Path) -> bool:
    """Whether /dev shows a TPU: as accel0, or from v5e on as a number in vfio, where GPUs that are
    passed to a guest lie too: so libtpu must be installed as well."""
    if (devices / "accel0").exists():
        return True
    return any(devices.glob("vfio/[0-9]*")) and importlib.util.find_spec("libtpu") is not None


def _slurm_devices(environment: Mapping[str, str]) -> list[int] | None:
    """The GPU of this task when Slurm runs several tasks on a node that all see all GPUs."""
    tasks_here = re.match(r"\d+", environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if tasks_here is None or int(tasks_here[0]) == 1 or (visible and "," not in visible):
        return None
    local = _number(None, environment, "SLURM_LOCALID")
    return None if local is None else [local]


def _first_host(nodes: str) -> str:
    """First host of a Slurm node list such as `node[001-004,9]-ib,other`."""
    match = re.match(r"([^\[,]+)(?:\[([^\],-]+)[^\]]*\])?([^\[,]*)", nodes)
    if match is None:
        raise UserError(
            f"SLURM_STEP_NODELIST={nodes!r} must begin with a host, because process 0 runs there; "
            "try --distributed.coordinator HOST:PORT"
        )
    return match[1] + (match[2] or "") + match[3]


def _number(setting: int | None, environment: Mapping[str, str], name: str) -> int | None:
    if setting is not None or name not in environment:
        return setting
    if not environment[name].isdecimal():
        raise UserError(
            f"{name}={environment[name]!r} must be a whole number, because it counts processes; "
            "try --distributed.start none for one process"
        )
    return int(environment[name])


def _complete(job: Membership) -> Membership | None:
    """The job, checked; None if a part of it is not known."""
    if job.coordinator is None or job.num_processes is None or job.process_id is None:
        return None
    check_address(job.coordinator)
    if not 0 <= job.process_id < job.num_processes:
        raise UserError(
            f"distributed.process_id={job.process_id} must be from 0 to {job.num_processes - 1}, "
            f"because distributed.num_processes={job.num_processes} (detected by {job.start}); "
            "try numbering from 0"
        )
    return job


Finder = Callable[[DistributedConfig, Mapping[str, str]], Membership | None]
KINDS: dict[str, tuple[Finder, str]] = {
    "explicit": (
        _explicit,
        "--distributed.coordinator, --distributed.num-processes and --distributed.process-id, or "
        "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID",
    ),
    "slurm": (
        _slurm,
        "SLURM_STEP_NUM_TASKS, SLURM_PROCID, SLURM_STEP_NODELIST and SLURM_JOB_ID, which `srun` "
        "sets",
    ),
    "kubernetes": (
        _kubernetes,
        "JOB_COMPLETION_INDEX, JAX_NUM_PROCESSES, and JAX_COORDINATOR_ADDRESS or JOBSET_NAME with "
        "REPLICATED_JOB_NAME",
    ),
    "tpu": (_tpu, "TPU_WORKER_HOSTNAMES, /dev/accel0, or /dev/vfio with libtpu installed"),
}
"""How each kind of job is detected, and the settings by which its processes meet."""
