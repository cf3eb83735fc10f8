"""The planning process's child: compiles a run's train step for chips that are not there.

`python -m launch.plan.compile_step REQUEST ANSWER`, both JSON. `launch.plan.compiler` starts it
in an environment of its own, so that neither flags nor platforms leak out of it or into it.
"""

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
from launch.plan.gpu_target import TARGETS
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


def main(request: Path, answer: Path) -> None:
    die_with_launcher()
    asked = json.loads(request.read_text(encoding="utf-8"))
    topology = parse(asked["topology"])
    devices = described(topology)
    told: dict[str, Any] = {"limit": memory_of(topology, devices)}
    try:
        compile_step(asked["config"], topology, devices, Path(asked["hlo"]), told)
    except ValueError as error:
        told["refused"] = str(error)
    except jax.errors.JaxRuntimeError as error:
        traceback.print_exc()
        told |= wanted(str(error), sum(told.get("logical", {}).values()))
    used = resource.getrusage(resource.RUSAGE_SELF)
    told |= {"rss": used.ru_maxrss * 1024, "cpu_seconds": used.ru_utime + used.ru_stime}
    answer.write_text(json.dumps(told), encoding="utf-8")


def wanted(message: str, given: int) -> dict[str, Any]:
    """What the compiler's error says of memory: the bytes it needed, and whether that is the whole
    of them or its temporaries with what the step is given added; else the failure."""
    if used := USED.search(message):
        return {"needed": size(*used.group(1, 2)), "whole": True}
    if alone := TEMPORARIES.search(message):
        return {"needed": size(*alone.groups()) + given, "whole": False}
    return {"failed": message.splitlines()[0]}


def described(topology: Topology) -> list[Any]:
    """The devices of the topology, which nothing can run on."""
    if topology.chip.platform == "gpu":
        nodes, each = topology.shape
        target = TARGETS[topology.chip.name].proto
        told = {"target_config": target, "topology": f"1x{nodes}x{each}"}
        return topologies.get_topology_desc(f"{nodes}x{each}", platform="cuda", **told).devices
    shape = topology.shape
    options: dict[str, Any] = {"topology_name": f"{topology.chip.name}:{'x'.join(map(str, shape))}"}
    if topology.chips == topology.slices:
        options["chips_per_host_bounds"] = (1, 1, 1)
    if topology.chip.name == "v4":  # as real jobs see it: one device of both cores
        options["chip_config_name"] = "megacore"
    if topology.slices > 1:
        options["num_slices"] = topology.slices
    return topologies.get_topology_desc(platform="tpu", **options).devices


def memory_of(topology: Topology, devices: list[Any]) -> int:
    """Bytes that a program may take on one device.

    A TPU's compiler keeps some of the chip for itself and tells what is left only when it runs
    out, so it is given an array that no chip can hold.
    """
    if topology.chip.platform == "gpu":
        return TARGETS[topology.chip.name].memory
    huge = jax.ShapeDtypeStruct((2**42,), np.int8, sharding=SingleDeviceSharding(devices[0]))
    try:
        jax.jit(lambda x: x + 1).lower(huge).compile()
    except jax.errors.JaxRuntimeError as error:
        found = LEFT.search(str(error))
        assert found, str(error)
        return size(*found.groups())
    raise AssertionError("an array of 4 TiB fits a chip")


def size(number: str, unit: str) -> int:
    """Bytes of a size such as 95.74G, as the compiler rounds it."""
    return round(float(number) * UNITS[unit])


def compile_step(
    config: dict[str, Any], topology: Topology, devices: list[Any], hlo: Path, told: dict[str, Any]
) -> None:
    """Compile the train step of the config and write down in `told` what is known so far.

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
        told["attention"], told["loss_chunk"] = model.kernel, train.loss_chunk
        told["mesh"], told["logical"] = dict(mesh.shape), logical(state, rest)
        began = time.perf_counter()
        lowered = make_train_step(train).lower(state, *rest)
        told["lower_seconds"] = time.perf_counter() - began
        try:
            program = lowered.compile()
        finally:
            told["seconds"] = time.perf_counter() - began
    text, found = program.as_text(), program.memory_analysis()
    assert text is not None and found is not None, "compilers for devices tell both"
    hlo.write_text(text, encoding="utf-8")
    told["bytes"] = {
        "arguments": found.argument_size_in_bytes,
        "outputs": found.output_size_in_bytes,
        "aliased": found.alias_size_in_bytes,
        "temporaries": found.temp_size_in_bytes,
        "code": found.generated_code_size_in_bytes,
        "peak": found.peak_memory_in_bytes,
        "host": found.host_argument_size_in_bytes + found.host_temp_size_in_bytes,
    }


def logical(state: TrainState, rest: list[Any]) -> dict[str, int]:
    """Bytes that a device holds of what the step is given, without padding."""
    return {
        "parameters": array_bytes(state.model).device,
        "optimizer": array_bytes(state.optimizer).device,
        "average": array_bytes(state.average).device,
        "batch": array_bytes((state.step, rest)).device,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
