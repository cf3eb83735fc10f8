"""Training steps of convolutional networks, and single layers, in turns with torch's, as JSON:
`python -m tests.bench.convolution`, in a Python that has torch."""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Interval

from data.batch import ImageRows
from launch.config import MeshConfig
from launch.process.mesh import make_mesh
from launch.run.build import compile_train_step, fresh_state, make_fresh_state, resolve_train
from launch.schema.command_line import run_module
from model.channel_norm import GroupNorm
from model.convolution import Convolution, Depthwise, SlidingWindow
from model.families.convnet_config import ConvnetConfig
from model.head_config import HeadConfig
from model.weights import param
from tests.bench import timing
from tests.bench.__main__ import machine
from tests.command import ROOT
from train.config import OptimizerConfig, TrainConfig

WIDTH = 64
PLAIN = ConvnetConfig(
    stem="convolution",
    stem_channels=32,
    stem_kernel=3,
    stem_stride=1,
    block="plain",
    depths=(1, 1),
    channels=(64, 128),
    strides=(2, 2),
    kernels=(3, 3),
    expansions=(1, 1),
    groups=8,
    head=HeadConfig(kind="labels", outputs=10, pooling="mean"),
)
NETWORKS = {
    "plain": PLAIN,
    "resnet": dataclasses.replace(
        PLAIN,
        block="basic",
        depths=(1, 1, 1),
        channels=(32, 64, 128),
        strides=(1, 2, 2),
        kernels=(3, 3, 3),
        expansions=(1, 1, 1),
    ),
    "convnext": dataclasses.replace(
        PLAIN,
        stem="patches",
        stem_channels=48,
        stem_stride=4,
        block="convnext",
        depths=(2, 2),
        channels=(48, 96),
        strides=(1, 2),
        kernels=(7, 7),
        expansions=(4, 4),
        norm="layer",
        activation="gelu",
        head=dataclasses.replace(PLAIN.head, transform="normed"),
    ),
}


def main(
    batch: Annotated[int, Interval(ge=1, le=1024)] = 32,
    side: Annotated[int, Interval(ge=8, le=512)] = 32,
    rounds: Annotated[int, Interval(ge=1, le=1000)] = 9,
) -> None:
    """Print medians of both, and ratios of ours over torch's.

    Args:
        batch: Images of a step.
        side: Pixels of a side of an image.
        rounds: Rounds in which all take turns.
    """
    script = ROOT / "tests" / "oracles" / "convnets" / "timed.py"
    command = [sys.executable, str(script), str(batch), str(side), str(os.cpu_count())]
    results: dict[str, Any] = {"machine": machine(), "batch": batch, "side": side}
    with (
        subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as theirs,
        jax.set_mesh(make_mesh(MeshConfig(fsdp=1), jax.devices()[:1])),
    ):
        calls = {name: step(name, batch, side) for name in NETWORKS}
        calls |= operations(batch, side)
        for name, call in calls.items():
            results[name] = compared(call, lambda name=name: asked(theirs, name), rounds)
        assert theirs.stdin is not None
        theirs.stdin.close()
    json.dump(results, sys.stdout, indent=2)
    print()


def asked(worker: "subprocess.Popen[str]", name: str) -> float:
    """Seconds that the worker took for what has that name."""
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(f"{name}\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def compared(
    ours: Callable[[], object], theirs: Callable[[], float], rounds: int
) -> dict[str, Any]:
    """Milliseconds of both, and their ratios, each called once before."""
    ours()
    theirs()
    seconds: dict[str, list[float]] = {"ours": [], "torch": []}
    for _ in range(rounds):
        began = time.perf_counter()
        ours()
        seconds["ours"].append(time.perf_counter() - began)
        seconds["torch"].append(theirs())
    medians = {n: round(statistics.median(s) * 1e3, 2) for n, s in seconds.items()}
    return {**medians, "ratio": timing.ratio(seconds["ours"], seconds["torch"])}


def step(name: str, batch: int, side: int) -> Callable[[], object]:
    """A training step of that network."""
    train = TrainConfig(steps=10, batch_size=batch, optimizer=OptimizerConfig(warmup_steps=0))
    model = NETWORKS[name].resolve("cpu")
    train = resolve_train(train, model, "cpu")
    state = make_fresh_state(fresh_state(model, train))
    draw = np.random.default_rng(0)
    images = draw.normal(size=(batch, side, side, 3)).astype(np.float32)
    targets = draw.integers(0, 10, batch).astype(np.int32)
    rows = ImageRows(images, targets, None, None, np.ones(batch, np.float32))
    compiled, _ = compile_train_step(jax.eval_shape(lambda: state), train, rows)
    states = [state]
    rows = jax.tree.map(jnp.asarray, rows)
    rate, ceiling = jnp.float32(1e-3), jnp.full(2, jnp.inf, jnp.float32)

    def run() -> object:
        states[0], sums = compiled(states[0], rows, rate, ceiling)
        return jax.block_until_ready(sums)

    return run


def operations(batch: int, side: int) -> dict[str, Callable[[], object]]:
    """Single layers, forward and backward."""
    key, n, way = jax.random.key(0), 2, {"backend": "cpu", "bias": True}
    layers: dict[str, Any] = {
        "3 x 3": Convolution(param, key, WIDTH, WIDTH, SlidingWindow(n, 3), **way),
        "3 x 3, stride 2": Convolution(param, key, WIDTH, WIDTH, SlidingWindow(n, 3, 2), **way),
        "1 x 1": Convolution(param, key, WIDTH, WIDTH, SlidingWindow(n, 1), **way),
        "depthwise 7 x 7": Depthwise(param, key, WIDTH, SlidingWindow(n, 7), **way),
        "group norm": GroupNorm(param, WIDTH, groups=8, epsilon=1e-5, start=1.0),
    }
    x = jax.random.normal(key, (batch, side, side, WIDTH))

    def timed(layer: Any) -> Callable[[], object]:
        out = jax.random.normal(key, jax.eval_shape(layer, x).shape)
        both = jax.jit(lambda layer, x: jax.vjp(lambda layer, x: layer(x), layer, x)[1](out))
        return lambda: jax.block_until_ready(both(layer, x))

    return {name: timed(layer) for name, layer in layers.items()}


if __name__ == "__main__":
    run_module(main, "tests.bench.convolution")
