import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from launch.plan.compiler import compile_step, environment, require_packages
from launch.plan.topology import Topology, parse
from launch.presets.preset import preset
from tests.command import SMALL, meshloom

MESHES = """
from launch.config import MeshConfig
from launch.process.mesh import make_mesh
from launch.plan.compile_step import devices_of
from launch.plan.topology import parse
devices = devices_of(parse("2xv5e-4"))
mesh = make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2), devices)
print([sorted(device.slice_index for device in part.flat) for part in mesh.devices])
make_mesh(MeshConfig(), devices)
"""
TINY = [*SMALL, "--model.num-layers", "1", "--model.vocab-size", "300"]
WIDTHS = {"f32": 4, "s32": 4, "bf16": 2, "u32": 4, "pred": 1}


def bytes_of_arguments(hlo: str) -> int:
    """Bytes of what the compiled program is given, by the shapes at its head, without padding."""
    head = re.search(r"entry_computation_layout=\{\((.*?)\)->", hlo)
    assert head
    shapes = re.findall(r"(\w+)\[([\d,]*)\]", head[1])
    return sum(
        WIDTHS[kind] * math.prod(map(int, filter(None, dims.split(",")))) for kind, dims in shapes
    )


def test_plan_of_two_slices_by_the_compiler_of_tpus(tmp_path: Path) -> None:
    flags = "--on 2xv5e-4 --mesh.replica 2 --mesh.fsdp 2 --mesh.tensor 2 --json --out".split()
    output = json.loads(meshloom("plan", "tiny", *TINY, *flags, str(tmp_path)).stdout)
    fit = output["fit"]
    parts = {part["name"]: part["bytes"] for part in fit["parts"]}
    hlo = (tmp_path / "step.hlo").read_text()
    arguments = ("parameters", "optimizer", "batch")
    assert sum(parts[name] for name in arguments) == bytes_of_arguments(hlo)
    assert sum(parts.values()) == fit["peak"] < fit["limit"] == round(15.75 * 2**30)
    assert parts["padding of these"] > 0
    assert fit["verdict"] == "fits"
    assert (output["topology"]["chips"], output["topology"]["slices"]) == (8, 2)
    assert "num_partitions=4" in hlo, "a slice runs a program of its own"
    assert json.loads((tmp_path / "plan.json").read_text()) == output
    assert (tmp_path / "fit.png").stat().st_size > 10_000
    assert output["compiler"]["rss"] < 8 * 2**30


def test_replicas_are_slices() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MESHES],
        env=environment(parse("2xv5e-4")),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[[0, 0, 0, 0], [1, 1, 1, 1]]\n", done.stderr
    assert "mesh.replica=1 must be a multiple of 2" in done.stderr


def test_step_without_room_tells_what_it_wanted(tmp_path: Path) -> None:
    flags = "--on v5e-1 --train.batch-size 16777216 --out".split()
    said = meshloom("plan", "tiny", *TINY, *flags, str(tmp_path)).stdout
    assert "\ndoes not fit\ntry --model.remat full, more --train.accumulation, or --search" in said
    assert max(map(len, said.splitlines()[:-1])) <= 80, "all but the folder"
    assert re.search(r"\nwanted +[\d.,]+   > 999% ", said)
    assert "there is                                 15.75" in said
    wanted = re.search(r"\nwanted +([\d.,]+)", said)
    assert wanted and float(wanted[1].replace(",", "")) > 15.75
    assert "RESOURCE_EXHAUSTED" in (tmp_path / "compiler.log").read_text()


def test_failure_of_the_compiler_is_kept_whole(tmp_path: Path) -> None:
    odd = Topology(parse("v5p-8").chip, (3, 3, 3))
    with pytest.raises(ValueError, match=r"v5p:3x3x3.*read all of it in .*compiler\.log"):
        compile_step(preset("tiny"), odd, tmp_path)
    assert "Traceback" in (tmp_path / "compiler.log").read_text()


def test_what_does_not_suit_the_devices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mesh\.replica=1 must be a multiple of 2"):
        compile_step(preset("tiny"), parse("2xv5e-1"), tmp_path)


def test_missing_compiler_is_named_with_the_command() -> None:
    with pytest.raises(ValueError, match=r"pip install 'meshloom\[plan-gpu\]'"):
        require_packages(parse("h100x8"))


def test_flags_of_this_process_do_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "there")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_ALLOCATOR", "platform")
    monkeypatch.setenv("HTTPS_PROXY", "kept")
    output = environment(parse("v5p-8"))
    assert (output["XLA_FLAGS"], output["JAX_PLATFORMS"], output["HTTPS_PROXY"]) == (
        "",
        "cpu",
        "kept",
    )
    assert not {"JAX_COMPILATION_CACHE_DIR", "XLA_PYTHON_CLIENT_ALLOCATOR"} & set(output)
    assert "autotune_level=0" in environment(parse("h100x8"))["XLA_FLAGS"]
