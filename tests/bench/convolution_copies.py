"""Copies and transposes of activation size in compiled training steps of convolutional networks:
`python -m tests.bench.convolution_copies`, where the compilers of H100 and v5p are installed."""

import dataclasses
import math
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from data.arrays_config import ImagesConfig
from launch.config import MeshConfig, RunConfig
from launch.plan.compiler import compile_step
from launch.plan.topology import parse
from launch.presets.preset import preset
from launch.schema.command_line import run_module

RESULT = re.compile(r"%?([\w.-]+) = \w+\[([\d,]*)\][^ ]* ([\w-]+)\(")
CALLED = re.compile(r"calls=%?([\w.-]+)")
CONVOLVED = re.compile(r" (?:convolution|custom-call)\(.*(?:window=|__cudnn\$conv)")
MOVING = {"copy", "transpose", "copy-start"}
IDLE = {*MOVING, "parameter", "bitcast", "reshape", "convert", "tuple", "get-tuple-element"}
"""What computes nothing."""
DEPTHS = {"resnet-50": (1, 1, 1, 1), "convnext-t": (1, 1, 1, 1)}
"""Blocks of each stage: one shows all shapes."""


def small(name: str, batch: int) -> RunConfig:
    """The preset with one block a stage, for one device."""
    config, data = preset(name), ImagesConfig(sources=("images:photos",))
    model: Any = dataclasses.replace(config.model, depths=DEPTHS[name], dtype="bfloat16")
    train = dataclasses.replace(config.train, batch_size=batch)
    mesh = MeshConfig(fsdp=-1)
    return dataclasses.replace(config, model=model, data=data, train=train, mesh=mesh)


def moved(hlo: str, batch: int, elements: int) -> list[tuple[str, str]]:
    """What only copies or transposes activations: instructions and whole fusions whose result has
    at least so many elements, of so many images; with its shape. What a fusion moves as it reads
    what it computes with is no pass over memory of its own."""
    bodies, name = dict[str, list[tuple[str, str, str]]](), ""
    fused = set[str]()
    for line in hlo.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            name = line.removeprefix("ENTRY ").split()[0].lstrip("%")
            bodies[name] = []
            continue
        called = CALLED.search(line) if " fusion(" in line else None
        target = called.group(1) if called else ""
        fused.add(target)
        if name and (match := RESULT.search(line)):
            _, shape, what = match.groups()
            bodies[name].append((what, shape, target))
    return [
        (what, shape)
        for body, lines in bodies.items()
        if body not in fused
        for what, shape, target in lines
        if (what in MOVING or (target and _is_idle(bodies[target])))
        and is_activation(shape, batch, elements)
    ]


def is_activation(shape: str, batch: int, elements: int) -> bool:
    """Whether those are numbers of so many images, in one dimension with their places or apart."""
    sizes = [int(size) for size in shape.split(",") if size]
    places = len(sizes) in (2, 3) and sizes[0] % batch == 0 and sizes[0] > batch
    whole = len(sizes) > 2 and batch in sizes
    return math.prod(sizes) >= elements and (places or whole)


def _is_idle(lines: list[tuple[str, str, str]]) -> bool:
    kinds = {what for what, _, _ in lines}
    return bool(kinds & MOVING) and kinds <= IDLE


def main(
    topologies: tuple[str, ...] = ("v5p-8", "h100x8"),
    images: Annotated[int, Interval(ge=1, le=4096)] = 16,
) -> None:
    """Print how many there are, and of what shapes.

    Args:
        topologies: What is compiled for.
        images: Images of a device.
    """
    for where in topologies:
        topology = parse(where)
        for name in DEPTHS:
            config: Any = small(name, images * topology.devices)
            with tempfile.TemporaryDirectory() as folder:
                step = compile_step(config, topology, Path(folder))
                assert step.hlo is not None, f"{name} has no room on {where}"
                text = step.hlo.read_text()
            # The last map, 7 x 7, is the smallest activation, in a bottleneck of fewer channels.
            last: Any = config.model.stages[-1]
            inner = last.channels // (last.expansion if config.model.block == "bottleneck" else 1)
            large = moved(text, images, images * 7 * 7 * inner)
            convolutions = len(CONVOLVED.findall(text))
            print(f"{where} {name}: {convolutions} convolutions, {len(large)} moved")
            for (what, shape), count in Counter(large).most_common(12):
                print(f"  {count} x {what} [{shape}]")


if __name__ == "__main__":
    run_module(main, "tests.bench.convolution_copies")
