"""Settings a process makes before its first computation: XLA flags, compile cache, job, mesh.

Imports no jax at the top, because XLA reads its flags when jax starts.
"""

import ctypes
import importlib.util
import inspect
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from launch.config import DistributedConfig, MeshConfig

# glibc's mallopt parameters, from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
PCI = Path("/sys/bus/pci/devices")
MAKERS = {"0x1ae0", "0x10de", "0x1002"}
"""Google, NVIDIA and AMD, as vendors of PCI devices."""
PR_SET_PDEATHSIG = 1  # from Linux's prctl.h
CACHE_WRITE = (
    *("cache_key", "compile_time_secs", "module_name", "backend", "executable"),
    "host_callbacks",  # until JAX 0.11
)
DETERMINISTIC = "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"


def start(
    mesh: "MeshConfig",
    distributed: "DistributedConfig",
    *,
    cache_dir: str,
    deterministic: bool = False,
) -> "Mesh":
    """Join the job, if there is one, and make the mesh of all its devices; call it once, first.

    Compiled programs are kept under `cache_dir`, or the local folder that mirrors a remote one,
    from run to run, unless JAX_COMPILATION_CACHE_DIR says where. `deterministic` asks XLA for
    reproducible GPU kernels and takes autotuning away.
    """
    keep_freed_memory()
    leave_out_absent_tpu()
    if deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    import jax

    import launch.process.distributed
    import launch.process.mesh
    from data.cache import local_cache

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(local_cache(cache_dir) / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if launch.process.distributed.start(distributed) is not None and jax.default_backend() == "cpu":
        keep_programs_of_every_process()
    return launch.process.mesh.make_mesh(mesh)


def leave_out_absent_tpu(devices: Path = PCI) -> None:
    """Keep jax from starting libtpu where it is installed for its compiler alone: it would ask a
    cloud what machine this is, and complain. Where `devices` holds one of a maker of accelerators,
    or JAX_PLATFORMS says what to take, jax looks for itself."""
    if "JAX_PLATFORMS" in os.environ or importlib.util.find_spec("libtpu") is None:
        return
    if not MAKERS & {path.read_text().strip() for path in devices.glob("*/vendor")}:
        os.environ["JAX_PLATFORMS"] = "cpu"
        if (jax := sys.modules.get("jax")) is not None:  # it has read the variable already
            jax.config.update("jax_platforms", "cpu")


def keep_programs_of_every_process() -> None:
    """Let each CPU process write its programs to the cache: JAX gives each a key of its own, but
    lets only process 0 write, so that all others would compile again at every start.

    JAX has no option for this. If its private function is not the known one, that is printed, and
    nothing is changed.
    """
    from jax._src import compiler, distributed

    if not is_known_cache_writer(write := getattr(compiler, "_cache_write", None)):
        version = sys.modules["jax"].__version__
        print(f"only process 0 keeps its programs, as JAX {version} writes them in an unknown way")
        return
    assert write is not None

    def write_own(*program: Any) -> None:
        job = distributed.global_state
        index, job.process_id = job.process_id, 0
        try:
            write(*program)
        finally:
            job.process_id = index

    compiler._cache_write = write_own


def is_known_cache_writer(write: Callable[..., None] | None) -> bool:
    """Whether JAX's function takes what it took when `keep_programs_of_every_process` was written
    (0.10 to 0.12), and asks the state of the job for this process's number."""
    if not inspect.isfunction(write):
        return False
    names = tuple(inspect.signature(write).parameters)
    known = names in (CACHE_WRITE, CACHE_WRITE[:-1])
    return known and {"distributed", "global_state", "process_id"} <= {*write.__code__.co_names}


def keep_freed_memory() -> None:
    """Tell glibc to keep big freed blocks: giving them back costs a CPU step 1.15 x in page
    faults. It must come before jax starts its threads, which take memory pools of their own."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def die_with_launcher() -> None:
    """Under a launcher of this machine, be killed when it dies: nothing would watch over the job,
    and the next start would find the run taken. Linux only."""
    launcher = os.environ.pop("MESHLOOM_LAUNCHER", None)  # it is not that of our own children
    if launcher is not None and sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(launcher):  # it died before
            os.kill(os.getpid(), signal.SIGKILL)
