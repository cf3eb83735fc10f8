"""How long a checkpoint keeps the loop waiting, in steps, and what its manifest costs."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax

from tests.bench import timing
from tests.bench.baseline import BaselineSizes
from tests.bench.reference import make_reference
from train.checkpoint import manifest
from train.checkpoint.checkpointer import Checkpointer
from train.config import CheckpointConfig

BAR = 1.0


def measure(sizes: BaselineSizes, folder: Path, rounds: int) -> dict[str, object]:
    """Milliseconds that `save` blocks, at first (it imports Orbax) and later, and of a step.

    `written` is the whole save, in the background; the other speeds are MB/s of files that the
    system still has in memory.
    """
    reference = make_reference(sizes)
    state = reference.fresh_state()
    saver = Checkpointer(folder / "checkpoints", CheckpointConfig())
    saves: list[float] = []
    steps: list[float] = []
    written: list[float] = []
    for number in range(rounds + 1):
        began = time.perf_counter()
        state, metrics = reference.step(
            state, reference.batch, reference.learning_rate, reference.ceiling
        )
        jax.block_until_ready(metrics)
        stepped = time.perf_counter()
        saver.save(number, state, {}, force=True)
        saves.append(time.perf_counter() - stepped)
        steps.append(stepped - began)
        saver.wait()
        written.append(time.perf_counter() - stepped)
    saver.close()
    path = saver.folder.of(rounds)
    files = manifest.read(path).files
    megabytes = sum(file.size for file in files.values()) / 1e6
    shapes = jax.eval_shape(lambda: state)

    def speed(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return round(megabytes / (time.perf_counter() - began), 1)

    # The first step warms caches.
    return {
        "first save_ms": round(saves[0] * 1e3, 2),
        "save": timing.milliseconds(saves[1:]),
        "step": timing.milliseconds(steps[1:]),
        "written": timing.milliseconds(written[1:]),
        "megabytes": round(megabytes, 1),
        "flush and hash, MB/s": speed(lambda: manifest.flushed(path, files)),
        "verify, MB/s": speed(lambda: saver.faults(rounds)),
        "restore, MB/s": speed(lambda: jax.block_until_ready(saver.restore(shapes, rounds))),
        "ratio": round(statistics.median(saves[1:]) / statistics.median(steps[1:]), 4),
        "ratio, first save": round(saves[0] / statistics.median(steps[1:]), 4),
        "bar": BAR,
    }
