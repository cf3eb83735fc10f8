"""Where compiled programs are kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
from launch import runtime
from launch.config import DistributedConfig, MeshConfig

runtime.start(MeshConfig(), DistributedConfig(), cache_dir="gs://bucket/cache")
import jax

print(jax.config.jax_compilation_cache_dir)
"""


@pytest.mark.parametrize(
    ("wished", "found"), [("", "{home}/.cache/meshloom/xla"), ("/tmp/mine", "/tmp/mine")]
)
def test_compiled_programs_are_kept_on_this_machine(
    wished: str, found: str, tmp_path: Path
) -> None:
    variables = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    variables |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    if wished:
        variables["JAX_COMPILATION_CACHE_DIR"] = wished
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.stdout.strip() == found.format(home=tmp_path), done.stderr
    assert not (tmp_path / "gs:").exists()
