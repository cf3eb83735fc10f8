"""Asks the accelerator's own compiler about a run, in a process of its own. Imports no jax."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


class CompilerFailed(UserError):
    """The compiler broke off for a reason of its own; all that it said lies in a file."""


@dataclass(frozen=True, kw_only=True)
class CompiledStep:
    """What the compiler says of a train step on one device."""

    limit: int
    """Bytes that a program may take."""
    logical: dict[str, int]
    """Bytes of the step's arguments, without padding, by what they are."""
    bytes: dict[str, int] | None = None
    """`arguments`, `temporaries`, `peak` and, in the memory of the host, `host`; None of a step for
    which there is no room."""
    needed: int = 0
    """Of such a step: bytes by the compiler; where it says those of the temporaries alone, with the
    step's arguments."""
    whole: bool = True
    """Whether the compiler said all of them."""
    mesh: dict[str, int]
    attention: str
    """Name of the kernel."""
    seconds: float
    """Of tracing, lowering and compiling."""
    cpu_seconds: float
    """Of the whole compiling process, over all cores."""
    rss: int
    """The most bytes that the compiling process took."""
    folder: Path
    """Where all that the compiler said lies."""

    @property
    def hlo(self) -> Path | None:
        """The compiled program as text, if there is one."""
        return self.folder / "step.hlo" if self.bytes else None


def compile_step(config: RunConfig, topology: Topology, folder: Path) -> CompiledStep:
    """Compile the train step of `config` for the topology; files go into `folder`.

    Raises CompilerFailed if the compiler does, and another ValueError if it is not installed or
    the config does not suit the devices.
    """
    require_packages(topology)
    folder.mkdir(parents=True, exist_ok=True)
    request, answer, log = (folder / n for n in ("request.json", "answer.json", "compiler.log"))
    hlo = str((folder / "step.hlo").absolute())
    asked = {"config": to_dict(config), "topology": topology.name, "hlo": hlo}
    request.write_text(json.dumps(asked), encoding="utf-8")
    answer.unlink(missing_ok=True)
    with log.open("w", encoding="utf-8") as output:
        child = subprocess.run(
            [sys.executable, "-m", "launch.plan.compile_step", request, answer],
            env=environment(topology),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    step: dict[str, Any] = json.loads(answer.read_text()) if answer.is_file() else {}
    if "refused" in step:
        raise UserError(step["refused"])
    if "failed" in step or not step:
        last = [line for line in log.read_text().splitlines() if line.strip()][-1:]
        what = step.get("failed") or "".join(last) or f"exit code {child.returncode}"
        raise CompilerFailed(
            f"on={topology.name} must be a topology that the compiler takes this run for, but it "
            f"said: {what}; try another layout, or read all of it in {near(log)}"
        )
    return CompiledStep(**step, folder=folder)


def require_packages(topology: Topology) -> None:
    """ValueError, with the command that installs them, if compiler packages are missing."""
    platform = topology.chip.platform
    for name in PACKAGES[platform]:
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # of the package around it
            spec = None
        if spec is None:
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
