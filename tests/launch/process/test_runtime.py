"""Where compiled programs are kept, and which accelerators jax looks for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from launch.cluster.local import run_local
from launch.process.runtime import leave_out_absent_tpu
from tests.command import ROOT

PROGRAM = """
from launch.process import runtime
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


TWICE = """
import sys
from jax._src import monitoring
from launch.process import runtime
from launch.config import DistributedConfig, MeshConfig

seen = []
monitoring.register_event_listener(lambda event, **_: seen.append(event))
mesh = runtime.start(MeshConfig(), DistributedConfig(), cache_dir="cache")
import jax
import jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
with jax.set_mesh(mesh):
    jax.jit(lambda: jnp.arange(8.0, out_sharding=jax.P("fsdp")).sum())()
found = seen.count("/jax/compilation_cache/cache_hits")
sys.stdout.write(f"hits {found}\\n")  # at once, beside the other process's line
"""


def test_every_process_finds_its_programs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    hits = []
    for _ in range(2):
        command = [sys.executable, "-c", TWICE]
        assert run_local(command, processes=2, devices_per_process=1) == 0
        out = capfd.readouterr().out
        hits.append([int(line.split()[-1]) for line in out.splitlines() if "hits" in line])
    assert hits[0] == [0, 0] and min(hits[1]) > 0


@pytest.mark.parametrize(("alive", "code"), [(True, 0), (False, -signal.SIGKILL)])
def test_a_process_whose_launcher_died_before_it_could_ask_dies_too(alive: bool, code: int) -> None:
    program = (
        "import os\n"
        "from launch.process.runtime import die_with_launcher\n"
        "die_with_launcher(); assert 'MESHLOOM_LAUNCHER' not in os.environ\n"
    )
    launcher = os.getpid() if alive else 1 << 30
    environment = os.environ | {"MESHLOOM_LAUNCHER": str(launcher)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=60)
    assert done.returncode == code


@pytest.mark.parametrize(
    ("vendors", "wished", "found"),
    [
        ([], None, "cpu"),
        (["0x8086", "0x1af4"], None, "cpu"),
        (["0x8086", "0x1ae0"], None, None),
        (["0x10de"], None, None),
        ([], "tpu,cpu", "tpu,cpu"),
    ],
)
def test_a_tpu_that_is_not_there_is_not_started(
    vendors: list[str],
    wished: str | None,
    found: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, vendor in enumerate(vendors):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "vendor").write_text(f"{vendor}\n")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    if wished:
        monkeypatch.setenv("JAX_PLATFORMS", wished)
    before = jax.config.values["jax_platforms"]
    jax.config.update("jax_platforms", wished)
    try:
        leave_out_absent_tpu(tmp_path)
        assert os.environ.pop("JAX_PLATFORMS", None) == found
        assert jax.config.values["jax_platforms"] == found, "jax may be imported already"
    finally:
        jax.config.update("jax_platforms", before)
