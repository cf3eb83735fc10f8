"""Settings a process makes before its first computation: XLA flags, compile cache, job, mesh.

Imports no jax at the top, because XLA reads its flags when jax starts.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from launch.config import DistributedConfig, MeshConfig

if TYPE_CHECKING:
    from jax.sharding import Mesh

DETERMINISTIC = "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"


def start(
    mesh: MeshConfig,
    distributed: DistributedConfig,
    *,
    cache_dir: str,
    deterministic: bool = False,
) -> "Mesh":
    """Join the job, if there is one, and make the mesh of all its devices; call it once, first.

    Compiled programs are kept under `cache_dir` from run to run. `deterministic` asks XLA for
    reproducible GPU kernels and takes autotuning away.
    """
    if deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    import jax

    import launch.distributed
    import launch.mesh

    jax.config.update("jax_compilation_cache_dir", str(Path(cache_dir).expanduser() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    launch.distributed.start(distributed)
    return launch.mesh.make_mesh(mesh)
