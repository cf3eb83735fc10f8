"""The planning process's child: compiles a run's train step for chips that are not there.

`python -m launch.plan.compile_step REQUEST ANSWER`, both JSON. `launch.plan.compiler` starts it
in an environment of its own, so that neither flags nor platforms leak out of it or into it.
"""

import csv
import json
import re
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from launch.config import from_dict
from launch.plan.topology import Topology, parse
from launch.process.mesh import make_mesh
from launch.process.runtime import die_with_launcher
from launch.run import build
from train.memory import array_bytes
from train.state import TrainState
from train.step import make_train_step

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
SIZE = r"([\d.]+)([KMGTP]?)"
LEFT = re.compile(rf"available HBM \({SIZE}\)")
TEMPORARIES = re.compile(rf"HLO temporaries \({SIZE}\)")
USED = re.compile(rf"[Uu]sed {SIZE} of {SIZE} hbm")

with Path(__file__).with_name("gpus.csv").open(encoding="utf-8", newline="") as file:
    GPUS = {row["chip"]: row for row in csv.DictReader(file)}
"""What CUDA's device properties give, as XLA's own target_config/specs record them; of H200's
memory these have 141 GiB, more than it has, so that it is the total_memory that PyTorch reports on
such machines, the 139.80 GiB of its messages when it runs out."""
TARGET = Path(__file__).with_name("gpu.txtpb").read_text(encoding="utf-8")
"""What XLA must know of a GPU to compile for one that is not there, as its text proto; nothing of
what a step needs is chosen by more."""


def main(request: Path, answer: Path) -> None:
    die_with_launcher()
    asked = json.loads(request.read_text(encoding="utf-8"))
    topology = parse(asked["topology"])
    devices = devices_of(topology)
    step: dict[str, Any] = {"limit": memory_of(topology, devices)}
    try:
        compile_step(asked["config"], topology, devices, Path(asked["hlo"]), step)
    except ValueError as error:
        step["refused"] = str(error)
    except jax.errors.JaxRuntimeError as error:
        traceback.print_exc()
        step |= wanted(str(error), sum(step.get("logical", {}).values()))
    used = resource.getrusage(resource.RUSAGE_SELF)
    step |= {"rss": used.ru_maxrss * 1024, "cpu_seconds": used.ru_utime + used.ru_stime}
    answer.write_text(json.dumps(step), encoding="utf-8")


def wanted(message: str, arguments: int) -> dict[str, Any]:
    """What the compiler's error says of memory: the bytes it needed, and whether that is the whole
    of them or its temporaries with the step's arguments added; else the failure."""
    if used := USED.search(message):
        return {"needed": size(*used.group(1, 2)), "whole": True}
    if alone := TEMPORARIES.search(message):
        return {"needed": size(*alone.groups()) + arguments, "whole": False}
    return {"failed": message.splitlines()[0]}


def devices_of(topology: Topology) -> list[Any]:
    """The devices of the topology, which nothing can run on."""
    if topology.chip.platform == "gpu":
        nodes, each = topology.shape
        gpu = GPUS[topology.chip.name]
        features = "ACCELERATED_FEATURES" if int(gpu["major"]) >= 9 else "NONE"
        # A block may have 1 KiB less than its core.
        optin = int(gpu["shared_memory_per_core"]) - 2**10
        target = TARGET.format(**gpu, features=features, optin=optin)
        described = {"target_config": target, "topology": f"1x{nodes}x{each}"}
        return topologies.get_topology_desc(f"{nodes}x{each}", platform="cuda", **described).devices
    options: dict[str, Any] = {"topology_name": topology._replace(slices=1).name}
    if topology.chips == topology.slices:
        options["chips_per_host_bounds"] = (1, 1, 1)
    if topology.chip.name == "v4":  # as real jobs see it: one device of both cores
        options["chip_config_name"] = "megacore"
    if topology.slices > 1:
        options["num_slices"] = topology.slices
    return topologies.get_topology_desc(platform="tpu", **options).devices


def memory_of(topology: Topology, devices: list[Any]) -> int:
    """Bytes that a program may take on one device.

    A TPU's compiler keeps some of the chip for itself and says what is left only when it runs
    out, so it gets an array that no chip can hold.
    """
    if topology.chip.platform == "gpu":
        return int(GPUS[topology.chip.name]["device_memory_size"])
    huge = jax.ShapeDtypeStruct((2**42,), np.int8, sharding=SingleDeviceSharding(devices[0]))
    try:
        jax.jit(lambda x: x + 1).lower(huge).compile()
    except jax.errors.JaxRuntimeError as error:
        left = LEFT.search(str(error))
        assert left, str(error)
        return size(*left.groups())
    raise AssertionError("an array of 4 TiB fits a chip")


def size(number: str, unit: str) -> int:
    """Bytes of a size such as 95.74G, as the compiler rounds it."""
    return round(float(number) * UNITS[unit])


def compile_step(
    config: dict[str, Any], topology: Topology, devices: list[Any], hlo: Path, step: dict[str, Any]
) -> None:
    """Compile the train step of the config and write down in `step` what is known so far.

    Raises ValueError if the config does not suit the devices, JaxRuntimeError of the compiler.
    """
    run = from_dict(config)
    mesh = make_mesh(run.mesh, devices)
    with jax.set_mesh(mesh):
        model = run.model.resolve(topology.chip.platform)
        train = build.resolve_train(run.train, model, topology.chip.platform)
        build.check_batch(train, run.data.sequence_length, model)
        state, *rest = build.step_arguments(
            jax.eval_shape(build.fresh_state(model, train)),
            run.data.batch_shapes(train.batch_size),
        )
        step["attention"], step["mesh"] = model.kernel, dict(mesh.shape)
        step["logical"] = logical(state, rest)
        began = time.perf_counter()
        try:
            program = make_train_step(train).lower(state, *rest).compile()
        finally:
            step["seconds"] = time.perf_counter() - began
    text, memory = program.as_text(), program.memory_analysis()
    assert text is not None and memory is not None, "compilers for devices have both"
    hlo.write_text(text, encoding="utf-8")
    step["bytes"] = {
        "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "peak": memory.peak_memory_in_bytes,
        "host": memory.host_argument_size_in_bytes + memory.host_temp_size_in_bytes,
    }


def logical(state: TrainState, rest: list[Any]) -> dict[str, int]:
    """Bytes that a device keeps of the step's arguments, without padding."""
    return {
        "parameters": array_bytes(state.model).device,
        "optimizer": array_bytes(state.optimizer).device,
        "moving average": array_bytes(state.average).device,
        "batch": array_bytes((state.step, rest)).device,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
