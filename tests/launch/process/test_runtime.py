"""Where compiled programs are kept, and which accelerators jax looks for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from launch.cluster.local import LocalOptions, run_local
from launch.process.runtime import (
    is_known_cache_writer,
    keep_programs_of_every_process,
    leave_out_absent_tpu,
)
from tests.command import ROOT

PROGRAM = """
from launch.process import runtime
from launch.config import DistributedConfig, MeshConfig

runtime.start(MeshConfig(), DistributedConfig(), cache_dir="gs://bucket/cache")
import jax

print(jax.config.jax_compilation_cache_dir)
"""


@pytest.mark.parametrize(
    ("variable", "folder"), [("", "{home}/.cache/meshloom/xla"), ("/tmp/mine", "/tmp/mine")]
)
def test_compiled_programs_are_kept_on_this_machine(
    variable: str, folder: str, tmp_path: Path
) -> None:
    variables = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    variables |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    if variable:
        variables["JAX_COMPILATION_CACHE_DIR"] = variable
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.stdout.strip() == folder.format(home=tmp_path), done.stderr
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
hits = seen.count("/jax/compilation_cache/cache_hits")
sys.stdout.write(f"hits {hits}\\n")  # at once, or lines of both would mix
"""


def test_every_process_reads_its_programs_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    hits = []
    for _ in range(2):
        command = [sys.executable, "-c", TWICE]
        assert run_local(command, LocalOptions(processes=2, devices_per_process=1)) == 0
        out = capfd.readouterr().out
        hits.append([int(line.split()[-1]) for line in out.splitlines() if "hits" in line])
    assert hits[0] == [0, 0] and min(hits[1]) > 0


def test_jax_writes_programs_by_the_known_function() -> None:
    """If this fails, JAX has changed: read how it writes now, or remove the change of it."""
    from jax._src import compiler, distributed

    assert is_known_cache_writer(compiler._cache_write)
    assert hasattr(distributed.global_state, "process_id")


def test_an_unknown_writer_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from jax._src import compiler

    def changed(cache_key: str, executable: object) -> None: ...

    monkeypatch.setattr(compiler, "_cache_write", changed)
    keep_programs_of_every_process()
    assert compiler._cache_write is changed
    assert "only process 0 keeps its programs" in capsys.readouterr().out


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
    ("vendors", "variable", "platforms"),
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
    variable: str | None,
    platforms: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, vendor in enumerate(vendors):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "vendor").write_text(f"{vendor}\n")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    if variable:
        monkeypatch.setenv("JAX_PLATFORMS", variable)
    before = jax.config.values["jax_platforms"]
    jax.config.update("jax_platforms", variable)
    try:
        leave_out_absent_tpu(tmp_path)
        assert os.environ.pop("JAX_PLATFORMS", None) == platforms
        assert jax.config.values["jax_platforms"] == platforms, "jax may be imported already"
    finally:
        jax.config.update("jax_platforms", before)
