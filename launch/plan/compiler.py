"""Asks the accelerator's own compiler about a run, in a process of its own. Imports no jax."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from data.errors import UserError
from launch.checkout import ROOT
from launch.config import RunConfig, to_dict
from launch.plan.topology import Topology
from launch.process.typed import near

PACKAGES = {
    "tpu": ("libtpu",),
    "gpu": ("jax_plugins.xla_cuda13", "nvidia.cu13", "nvidia.cudnn"),
}
"""What compiles for a platform, and what finds its kernels."""
LEAKING = ("JAX_", "XLA_", "TPU_", "LIBTPU_", "CUDA_VISIBLE", "MEGASCALE_")
"""Variables of this process that the child must not see begin so."""


class Compiled(NamedTuple):
    """What the compiler says of one device, in bytes where nothing else is said."""

    limit: int
    """What a program may take."""
    logical: dict[str, int]
    """Of what the step is given, without padding: parameters, optimizer, average, batch."""
    arguments: int
    outputs: int
    aliased: int
    """Of the outputs, those that are written where arguments were."""
    temporaries: int
    code: int
    peak: int
    host: int
    """In the memory of the host, for this device."""
    mesh: dict[str, int]
    attention: str
    """Name of the kernel."""
    seconds: float
    """Of tracing, lowering and compiling."""
    cpu_seconds: float
    """Of the whole compiling process, over all cores."""
    rss: int
    """The most that the compiling process held."""
    hlo: Path
    """The compiled program as text."""


class CompilerFailed(UserError):
    """The compiler broke off for a reason of its own; all that it said lies in a file."""


class TooLarge(NamedTuple):
    """A step for which the compiler found no room."""

    limit: int
    logical: dict[str, int]
    needed: int
    """By the compiler; where it tells of the temporaries alone, with what the step is given."""
    whole: bool
    """Whether the compiler told all of it."""
    mesh: dict[str, int]
    attention: str
    seconds: float
    cpu_seconds: float
    rss: int
    message: Path
    """All that the compiler said."""


def compile_step(config: RunConfig, topology: Topology, folder: Path) -> Compiled | TooLarge:
    """Compile the train step of `config` for the topology; files go into `folder`.

    Raises CompilerFailed if the compiler does, and another ValueError if it is not installed or
    the config does not suit the devices.
    """
    require_packages(topology)
    folder.mkdir(parents=True, exist_ok=True)
    request, answer = folder / "request.json", folder / "answer.json"
    hlo, said = folder / "step.hlo", folder / "compiler.log"
    asked = {"config": to_dict(config), "topology": topology.name, "hlo": str(hlo.absolute())}
    request.write_text(json.dumps(asked), encoding="utf-8")
    answer.unlink(missing_ok=True)
    with said.open("w", encoding="utf-8") as log:
        done = subprocess.run(
            [sys.executable, "-m", "launch.plan.compile_step", request, answer],
            env=environment(topology),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    told: dict[str, Any] = json.loads(answer.read_text()) if answer.is_file() else {}
    if "refused" in told:
        raise UserError(told["refused"])
    if "failed" in told or not told:
        last = [line for line in said.read_text().splitlines() if line.strip()][-1:]
        what = told.get("failed") or "".join(last) or f"exit code {done.returncode}"
        raise CompilerFailed(
            f"on={topology.name} must be a topology that the compiler takes this run for, but it "
            f"said: {what}; try another layout, or read all of it in {near(said)}"
        )
    if "needed" in told:
        return TooLarge(**{name: told[name] for name in TooLarge._fields[:-1]}, message=said)
    flat = {**told, **told["bytes"], "hlo": hlo}
    return Compiled(**{name: flat[name] for name in Compiled._fields})


def require_packages(topology: Topology) -> None:
    """ValueError, with the command that installs them, if compiler packages are missing."""
    platform = topology.chip.platform
    for name in PACKAGES[platform]:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # of the package that would hold it
            found = None
        if found is None:
            raise UserError(
                f"on={topology.name} must come with the package {name}, because the compiler of "
                f"{topology.chip.name} is asked; try: pip install 'meshloom[plan-{platform}]'"
            )


def environment(topology: Topology) -> dict[str, str]:
    """Variables of the compiling process: ours, but for those that say how JAX is to run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LEAKING)}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(paths),
        "MESHLOOM_LAUNCHER": str(os.getpid()),  # it dies when this process does
        "JAX_PLATFORMS": "cpu",
        # libtpu would ask a cloud's metadata server what machine this is, and be alone on it.
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": f"{topology.chip.name}-8",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        # Kernels are timed on the GPU, which is not there.
        "XLA_FLAGS": "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
        if topology.chip.platform == "gpu"
        else "",
    }
