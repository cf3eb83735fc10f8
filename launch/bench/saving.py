"""How long a checkpoint keeps the loop waiting, in steps."""

import statistics
import time
from pathlib import Path

import jax

from launch.bench import timing
from launch.bench.baseline import Sizes
from launch.bench.reference import make_reference
from train.checkpoint import Checkpointer
from train.config import CheckpointConfig

BAR = 1.0


def measure(sizes: Sizes, folder: Path, rounds: int) -> dict[str, object]:
    """Milliseconds that `save` blocks, at first (it imports Orbax) and later, and of a step."""
    reference = make_reference(sizes)
    state = reference.fresh_state()
    saver = Checkpointer(folder / "checkpoints", CheckpointConfig())
    saves: list[float] = []
    steps: list[float] = []
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
    saver.close()
    # The first step warms caches.
    return {
        "first save_ms": round(saves[0] * 1e3, 2),
        "save": timing.milliseconds(saves[1:]),
        "step": timing.milliseconds(steps[1:]),
        "ratio": round(statistics.median(saves[1:]) / statistics.median(steps[1:]), 4),
        "ratio, first save": round(saves[0] / statistics.median(steps[1:]), 4),
        "bar": BAR,
    }
